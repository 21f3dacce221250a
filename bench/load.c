/* A load generator for OpenAI-compatible servers that costs little beside what it measures: one thread, epoll,
 * keep-alive, one request built once.
 *
 *   load --port P [--conns N] [--secs S] [--warm S] [--ramp S] [--stream] [--rate R] [--body BYTES]
 *        [--path /v1/chat/completions] [--model m1] [--header "Name: value"]...
 *
 * Closed loop: each connection sends its next request when the answer to the last one is complete. With --rate:
 * open loop, requests are due at fixed times and latency counts from the due time, so a server that falls behind
 * cannot hide it. Connections open evenly over --ramp seconds; what is measured lies in the window that begins after
 * --warm seconds and lasts --secs. Prints `begin` when the window opens and one JSON line when it closes, before it
 * hangs up, so that the caller can read the server's counters at both moments. Times in microseconds. */
#include "wire.h"

enum { HEAD_ROOM = 8192, READ_ROOM = 262144, BATCH = 512, GIVE_UP_AFTER = 20000 };
enum phase { CLOSED, CONNECTING, IDLE, SENDING, HEAD, BODY };
enum framing { BY_LENGTH, BY_CHUNKS, BY_CLOSE };
enum chunk_at { SIZE, EXTENSION, DATA, DATA_END, TRAILER, TRAILER_LINE };

struct conn {
  int fd;
  enum phase phase;
  size_t sent;
  char head[HEAD_ROOM]; size_t head_len;
  int status;
  enum framing framing; enum chunk_at chunk_at; size_t left;
  bool closes, writing, stamped;
  int stamp_at; uint64_t stamp;       /* digits seen so far (-1: outside of a stamp) and their value */
  uint64_t began, first_byte, retry_at;
  struct conn *next_idle;
};

/* Log-linear buckets, 64 to each doubling: a quantile is at most 1.6 % low, from 1 ns to centuries. */
enum { FINE = 128, BUCKETS = 60 * FINE };
struct histogram { uint64_t n, top, count[BUCKETS]; };

static void record(struct histogram *h, uint64_t ns) {
  int shift = ns < FINE ? 0 : 63 - __builtin_clzll(ns) - 6;
  h->count[(shift ? shift * (FINE / 2) : 0) + (int)(ns >> shift)]++;
  h->n++;
  if (ns > h->top) h->top = ns;
}

static double quantile_us(const struct histogram *h, double q) {
  uint64_t rank = (uint64_t)((double)h->n * q), seen = 0;
  for (int i = 0; i < BUCKETS && h->n; i++) {
    if ((seen += h->count[i]) <= rank) continue;
    int shift = i < FINE ? 0 : i / (FINE / 2) - 1;
    return (double)((uint64_t)(i - shift * (FINE / 2)) << shift) / 1000.0;
  }
  return (double)h->top / 1000.0;
}

static struct {
  int port, conns; double secs, warm, ramp, rate; bool stream; long body; const char *path, *model; char headers[2048];
} options = {.port = 9100, .conns = 1, .secs = 2, .warm = 0.5, .body = 1000, .path = "/v1/chat/completions", .model = "m1"};
static struct { uint64_t ok, not_200, broken, refused, reconnects, chunks, bytes; int last_status; } seen;
static struct histogram latency, first_bytes, transit;
static struct conn *all, *idle;
static char *request, *request_end;
static uint64_t window_from, window_to;
static int ep, closed;

static bool counts(uint64_t t) { return t >= window_from && t < window_to; }

/* ---- connections ---- */

static void hang_up(struct conn *c, uint64_t retry_at) {
  if (c->phase == IDLE)
    for (struct conn **p = &idle; *p; p = &(*p)->next_idle) if (*p == c) { *p = c->next_idle; break; }
  close(c->fd);
  c->phase = CLOSED;
  c->retry_at = retry_at;
  closed++;
}

static void dial(struct conn *c) {
  struct sockaddr_in a = loopback(options.port);
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) { perror("socket"); exit(2); }
  no_delay(c->fd);
  connect(c->fd, (struct sockaddr *)&a, sizeof a);
  c->phase = CONNECTING;
  c->writing = true;
  closed--;
  watch(ep, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT, c);
}

static void want_write(struct conn *c, bool on) {
  if (c->writing == on) return;
  c->writing = on;
  watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | (on ? EPOLLOUT : 0), c);
}

static void broken(struct conn *c, uint64_t t) {
  if (counts(t)) seen.broken++;
  hang_up(c, t + NS_PER_S / 100);
}

static void send_on(struct conn *c) {
  size_t total = (size_t)(request_end - request);
  ssize_t w = send(c->fd, request + c->sent, total - c->sent, MSG_NOSIGNAL);
  if (w < 0 && errno != EAGAIN) { broken(c, now_ns()); return; }
  if (w > 0) c->sent += (size_t)w;
  want_write(c, c->sent < total);
  if (c->sent == total) c->phase = HEAD;
}

static void start(struct conn *c, uint64_t began) {
  c->began = began;
  c->sent = c->head_len = 0;
  c->first_byte = 0;
  c->stamp_at = -1;
  c->stamped = c->closes = false;
  c->phase = SENDING;
  send_on(c);
}

static void free_to_send(struct conn *c) {
  c->phase = IDLE;
  if (options.rate > 0) { c->next_idle = idle; idle = c; }
  else start(c, now_ns());
}

static void complete(struct conn *c, uint64_t t) {
  if (counts(t)) {
    if (c->status != 200) { seen.not_200++; seen.last_status = c->status; }
    else if (options.stream && !c->stamped) seen.broken++;
    else { seen.ok++; record(&latency, t - c->began); }
  }
  if (c->closes) { seen.reconnects++; hang_up(c, t); }
  else free_to_send(c);
}

/* ---- reading an answer ---- */

static void saw_stamp(struct conn *c, uint64_t t) {
  c->stamped = true;
  if (!counts(t)) return;
  seen.chunks++;
  record(&transit, t > c->stamp ? t - c->stamp : 0);
}

static void payload(struct conn *c, const char *p, size_t n, uint64_t t) {
  if (counts(t)) seen.bytes += n;
  if (!options.stream) return;
  for (const char *end = p + n; p < end; p++) {
    if (c->stamp_at < 0) {
      if (!(p = memchr(p, STAMP_MARK, (size_t)(end - p)))) return;
      c->stamp_at = 0;
      c->stamp = 0;
    } else if (c->stamp_at < STAMP_DIGITS && *p >= '0' && *p <= '9') {
      c->stamp = c->stamp * 10 + (uint64_t)(*p - '0');
      c->stamp_at++;
    } else {
      if (c->stamp_at == STAMP_DIGITS && *p == STAMP_MARK) saw_stamp(c, t);
      c->stamp_at = -1;
    }
  }
}

/* Each reader takes what it can of [p, end) and returns the first byte it did not take; NULL: the answer is complete
 * or broken, and the connection has been seen to. */
static const char *read_head(struct conn *c, const char *p, const char *end, uint64_t t) {
  size_t old = c->head_len, n = (size_t)(end - p), room = HEAD_ROOM - 1 - old;
  if (n > room) n = room;
  memcpy(c->head + old, p, n);
  c->head_len += n;
  size_t from = old > 3 ? old - 3 : 0;
  char *e = memmem(c->head + from, c->head_len - from, "\r\n\r\n", 4);
  if (!e) {
    if (c->head_len == HEAD_ROOM - 1) { broken(c, t); return NULL; }
    return end;
  }
  size_t used = (size_t)(e + 4 - c->head) - old;
  c->head_len = 0;
  e += 2;
  c->status = atoi(c->head + 9);
  if (c->status / 100 == 1) return p + used;
  const char *length = header_value(c->head, e, "content-length:");
  bool chunked = header_is(header_value(c->head, e, "transfer-encoding:"), "chunked");
  c->framing = chunked ? BY_CHUNKS : length ? BY_LENGTH : BY_CLOSE;
  c->closes |= c->framing == BY_CLOSE || header_is(header_value(c->head, e, "connection:"), "close");
  c->left = c->framing == BY_LENGTH ? strtoul(length, NULL, 10) : 0;
  c->chunk_at = SIZE;
  c->phase = BODY;
  if (c->framing == BY_LENGTH && !c->left) { complete(c, t); return NULL; }
  return p + used;
}

static const char *take(struct conn *c, const char *p, const char *end, uint64_t t) {
  size_t n = (size_t)(end - p) < c->left ? (size_t)(end - p) : c->left;
  payload(c, p, n, t);
  c->left -= n;
  return p + n;
}

static int hex(char ch) { return ch >= 'a' ? ch - 'a' + 10 : ch >= 'A' ? ch - 'A' + 10 : ch - '0'; }

static const char *read_chunked(struct conn *c, const char *p, const char *end, uint64_t t) {
  while (p < end) switch (c->chunk_at) {
    case SIZE:
      if (*p == '\r' || *p == ';') c->chunk_at = EXTENSION; else c->left = c->left * 16 + (size_t)hex(*p);
      p++;
      break;
    case EXTENSION:
      if (*p++ == '\n') c->chunk_at = c->left ? DATA : TRAILER;
      break;
    case DATA:
      p = take(c, p, end, t);
      if (!c->left) c->chunk_at = DATA_END;
      break;
    case DATA_END:
      if (*p++ == '\n') c->chunk_at = SIZE;
      break;
    case TRAILER: /* at the start of a line: an empty one ends the answer */
      if (*p == '\n') { complete(c, t); return NULL; }
      if (*p++ != '\r') c->chunk_at = TRAILER_LINE;
      break;
    case TRAILER_LINE:
      if (*p++ == '\n') c->chunk_at = TRAILER;
      break;
  }
  return p;
}

static const char *read_body(struct conn *c, const char *p, const char *end, uint64_t t) {
  if (!c->first_byte) {
    c->first_byte = t;
    if (counts(t)) record(&first_bytes, t - c->began);
  }
  if (c->framing == BY_CHUNKS) return read_chunked(c, p, end, t);
  if (c->framing == BY_CLOSE) { payload(c, p, (size_t)(end - p), t); return end; }
  p = take(c, p, end, t);
  if (c->left) return p;
  complete(c, t);
  return NULL;
}

static void on_readable(struct conn *c) {
  static char buffer[READ_ROOM];
  ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
  uint64_t t = now_ns();
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    if (c->phase == IDLE) { seen.reconnects++; hang_up(c, t); }
    else if (n == 0 && c->phase == BODY && c->framing == BY_CLOSE) complete(c, t);
    else broken(c, t);
    return;
  }
  const char *p = buffer, *end = buffer + n;
  while (p && p < end) {
    if (c->phase == HEAD) p = read_head(c, p, end, t);
    else if (c->phase == BODY) p = read_body(c, p, end, t);
    else if (c->phase == SENDING) { c->phase = HEAD; c->closes = true; } /* an early answer: the rest is not sent */
    else { broken(c, t); return; }
  }
}

static void on_connected(struct conn *c) {
  int error = 0;
  socklen_t n = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
  if (!error) { want_write(c, false); free_to_send(c); return; }
  if (++seen.refused > GIVE_UP_AFTER) { fputs("nobody listens\n", stderr); exit(2); }
  hang_up(c, now_ns() + NS_PER_S / 100);
}

/* ---- the run ---- */

static void build_request(void) {
  static const char prompt[] = "Tell me in a few plain words what the keeper of a lighthouse does on a calm day. ";
  const char *form = "{\"model\":\"%s\",%s%s%s,\"max_tokens\":256,\"temperature\":0.7,\"stream\":%s}";
  bool chat = strcmp(options.path, "/v1/completions");
  const char *open = chat ? "\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"" : "\"prompt\":\"";
  const char *shut = chat ? "\"}]" : "\"", *stream = options.stream ? "true" : "false";
  long rest = snprintf(NULL, 0, form, options.model, open, "", shut, stream);
  long pad = options.body > rest ? options.body - rest : 1;
  char *text = must(malloc((size_t)pad + 1)), *body;
  for (long i = 0; i < pad; i++) text[i] = prompt[(size_t)i % (sizeof prompt - 1)];
  text[pad] = 0;
  int n = asprintf(&body, form, options.model, open, text, shut, stream);
  int total = asprintf(&request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                       "Accept: */*\r\nUser-Agent: bench-load\r\n%sContent-Length: %d\r\n\r\n%s",
                       options.path, options.port, options.headers, n, body);
  if (n < 0 || total < 0) must(NULL);
  request_end = request + total;
  free(text);
  free(body);
}

static void report(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  int unfinished = 0;
  for (int i = 0; i < options.conns; i++) unfinished += all[i].phase >= SENDING;
  double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
  printf("{\"secs\":%g,\"ok\":%llu,\"rps\":%.2f,\"lat_p50\":%.1f,\"lat_p99\":%.1f,\"lat_max\":%.1f,\"ttfb_p50\":%.1f,"
         "\"ttfb_p99\":%.1f,\"chunks\":%llu,\"chunks_s\":%.1f,\"transit_p50\":%.1f,\"transit_p99\":%.1f,"
         "\"transit_max\":%.1f,\"not_200\":%llu,\"last_status\":%d,\"errors\":%llu,\"refused\":%llu,"
         "\"reconnects\":%llu,\"unfinished\":%d,\"mb_s\":%.2f,\"load_cpu_s\":%.3f}\n",
         options.secs, (unsigned long long)seen.ok, (double)seen.ok / options.secs, quantile_us(&latency, 0.5),
         quantile_us(&latency, 0.99), (double)latency.top / 1e3, quantile_us(&first_bytes, 0.5),
         quantile_us(&first_bytes, 0.99), (unsigned long long)seen.chunks, (double)seen.chunks / options.secs,
         quantile_us(&transit, 0.5), quantile_us(&transit, 0.99), (double)transit.top / 1e3,
         (unsigned long long)seen.not_200, seen.last_status, (unsigned long long)seen.broken,
         (unsigned long long)seen.refused, (unsigned long long)seen.reconnects, unfinished,
         (double)seen.bytes / options.secs / 1e6, cpu);
  fflush(stdout);
}

static void dial_due(uint64_t t, uint64_t t0) {
  double opened = options.ramp > 0 ? (double)(t - t0) / 1e9 / options.ramp : 1;
  int allowed = opened >= 1 ? options.conns : (int)(opened * options.conns) + 1;
  for (int i = 0; i < allowed && closed; i++)
    if (all[i].phase == CLOSED && all[i].retry_at <= t) dial(&all[i]);
}

static void run(void) {
  struct epoll_event events[BATCH];
  uint64_t t0 = now_ns(), period = options.rate > 0 ? (uint64_t)(1e9 / options.rate) : 0;
  uint64_t due = t0 + (uint64_t)(options.warm * 0.5e9);
  bool begun = false;
  window_from = t0 + (uint64_t)(options.warm * 1e9);
  window_to = window_from + (uint64_t)(options.secs * 1e9);
  for (uint64_t t; (t = now_ns()) < window_to;) {
    uint64_t wake = window_to;
    if (!begun && t >= window_from) { begun = true; puts("begin"); fflush(stdout); }
    if (!begun) wake = window_from;
    if (closed) { dial_due(t, t0); wake = closed && t + 1000000 < wake ? t + 1000000 : wake; }
    while (period && idle && due <= t) {
      struct conn *c = idle;
      idle = c->next_idle;
      start(c, due);
      due += period;
    }
    if (period && idle && due < wake) wake = due;
    int n = wait_until(ep, events, BATCH, wake);
    for (int i = 0; i < n; i++) {
      struct conn *c = events[i].data.ptr;
      if (c->phase == CLOSED) continue;
      if (c->phase == CONNECTING) { if (events[i].events & ~(uint32_t)EPOLLIN) on_connected(c); continue; }
      if (c->phase == SENDING && events[i].events & EPOLLOUT) send_on(c);
      if (c->phase != CLOSED && events[i].events & ~(uint32_t)EPOLLOUT) on_readable(c);
    }
  }
}

int main(int argc, char **argv) {
  static const struct option names[] = {
      {"port", 1, 0, 'p'}, {"conns", 1, 0, 'c'}, {"secs", 1, 0, 'd'}, {"warm", 1, 0, 'w'}, {"ramp", 1, 0, 'a'},
      {"stream", 0, 0, 's'}, {"rate", 1, 0, 'r'}, {"body", 1, 0, 'b'}, {"path", 1, 0, 'P'}, {"model", 1, 0, 'm'},
      {"header", 1, 0, 'H'}, {0}};
  for (int o; (o = getopt_long(argc, argv, "", names, NULL)) >= 0;) switch (o) {
    case 'p': options.port = atoi(optarg); break;
    case 'c': options.conns = atoi(optarg); break;
    case 'd': options.secs = atof(optarg); break;
    case 'w': options.warm = atof(optarg); break;
    case 'a': options.ramp = atof(optarg); break;
    case 's': options.stream = true; break;
    case 'r': options.rate = atof(optarg); break;
    case 'b': options.body = atol(optarg); break;
    case 'P': options.path = optarg; break;
    case 'm': options.model = optarg; break;
    case 'H': {
      size_t n = strlen(options.headers);
      snprintf(options.headers + n, sizeof options.headers - n, "%s\r\n", optarg);
      break;
    }
    default: return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  build_request();
  all = must(calloc((size_t)options.conns, sizeof *all));
  closed = options.conns;
  ep = epoll_create1(0);
  run();
  report();
  return 0;
}
