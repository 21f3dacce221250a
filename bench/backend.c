/* A stand-in for an OpenAI-compatible engine that costs next to nothing: one thread, epoll, fixed answers.
 *
 *   backend --port 9100 [--model m1]
 *
 *   POST /v1/chat/completions, /v1/completions   JSON, or SSE when the request says "stream": true
 *   GET  /v1/models, /health, and what routers of vLLM and SGLang ask for at start
 *   POST /bench/settings?chunks=N&gap_us=N&delay_us=N&digest=0|1
 *   GET  /bench/stats
 *
 * Every streamed chunk carries ~<19 digits of CLOCK_MONOTONIC in ns>~, taken just before its send, so that a client
 * on this machine knows the way time of each chunk. A connection that closes while its answer is owed counts as
 * `aborted`. With digest=1 the FNV-1a hash of each inference body is kept, so that a check can tell whether a proxy
 * changed it. It never validates more of a request than it needs. */
#include "wire.h"

enum { READ_STEP = 16384, BODY_LIMIT = 64 << 20, BATCH = 512, BACKLOG = 4096 };
enum phase { HEAD, BODY, CHUNKED, WAITING, STREAMING };

struct conn {
  int fd;
  enum phase phase;
  char *in; size_t in_len, in_cap;     /* bytes of the request being read, and what came after it */
  size_t head_len, body_len, scan;     /* scan: first undecoded byte of a chunked body */
  size_t chunk_left; bool in_chunk, in_trailer;
  char *out; size_t out_len, out_cap;  /* what the socket would not take yet */
  bool chat, stream, close_after, writing, gone;
  long chunks_left; uint64_t gap_ns, due;
  int heap_at;                         /* place in the heap of due times, -1: not in it */
  struct conn *next_gone;
};

struct text { char bytes[1024]; size_t len, stamp_at; };

static struct { long chunks; uint64_t gap_ns, delay_ns; bool digest; const char *model; } settings =
    {.chunks = 100, .gap_ns = 10000000, .model = "m1"};
static struct { uint64_t requests, chunks, aborted, refused, open, accepted, body_bytes, body_fnv; long active; } stats;
static struct text answer[2], event_mid[2], event_last[2]; /* [1]: chat */
static struct { struct conn **at; int n, cap; } heap;
static struct conn *gone_list;
static int ep;

/* ---- the heap of due times: streams of one gap come in order, but settings may change while streams run ---- */

static void heap_put(int i, struct conn *c) { heap.at[i] = c; c->heap_at = i; }

static void heap_up(int i, struct conn *c) {
  for (; i && heap.at[(i - 1) / 2]->due > c->due; i = (i - 1) / 2) heap_put(i, heap.at[(i - 1) / 2]);
  heap_put(i, c);
}

static void heap_down(int i, struct conn *c) {
  for (int k; (k = 2 * i + 1) < heap.n; i = k) {
    if (k + 1 < heap.n && heap.at[k + 1]->due < heap.at[k]->due) k++;
    if (heap.at[k]->due >= c->due) break;
    heap_put(i, heap.at[k]);
  }
  heap_put(i, c);
}

static void heap_add(struct conn *c, uint64_t due) {
  if (heap.n == heap.cap) {
    heap.cap = heap.cap ? heap.cap * 2 : 256;
    heap.at = must(realloc(heap.at, sizeof *heap.at * (size_t)heap.cap));
  }
  c->due = due;
  heap_up(heap.n++, c);
}

static void heap_remove(struct conn *c) {
  if (c->heap_at < 0) return;
  int i = c->heap_at;
  struct conn *last = heap.at[--heap.n];
  c->heap_at = -1;
  if (last == c) return;
  if (last->due < c->due) heap_up(i, last); else heap_down(i, last);
}

/* ---- connections ---- */

static void drop(struct conn *c) {
  if (c->gone) return;
  if (c->phase >= WAITING) { stats.active--; stats.aborted++; }
  heap_remove(c);
  stats.open--;
  close(c->fd);
  c->gone = true;
  c->next_gone = gone_list; /* freed after the batch: later events of it may name this connection */
  gone_list = c;
}

static void free_gone(void) {
  while (gone_list) {
    struct conn *c = gone_list;
    gone_list = c->next_gone;
    free(c->in); free(c->out); free(c);
  }
}

static void reserve(struct conn *c, size_t total) {
  if (c->in_cap >= total) return;
  while (c->in_cap < total) c->in_cap = c->in_cap ? c->in_cap * 2 : READ_STEP * 2;
  c->in = must(realloc(c->in, c->in_cap));
}

static void want_write(struct conn *c, bool on) {
  if (c->writing == on) return;
  c->writing = on;
  watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN | (on ? EPOLLOUT : 0), c);
}

static void put(struct conn *c, const char *bytes, size_t n) {
  if (c->gone) return;
  if (!c->out_len) {
    ssize_t w = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (w < 0 && errno != EAGAIN) { drop(c); return; }
    if (w > 0) { bytes += w; n -= (size_t)w; }
    if (!n) return;
  }
  if (c->out_len + n > c->out_cap) {
    c->out_cap = (c->out_len + n) * 2;
    c->out = must(realloc(c->out, c->out_cap));
  }
  memcpy(c->out + c->out_len, bytes, n);
  c->out_len += n;
  want_write(c, true);
}

static void put_answer(struct conn *c, const char *status, const char *type, const char *body) {
  char b[2048];
  int n = snprintf(b, sizeof b, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", status, type,
                   strlen(body), body);
  put(c, b, (size_t)n);
}

/* ---- answers made once ---- */

static const char STREAM_HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                                  "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char STREAM_END[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

static void make_answer(struct text *t, bool chat) {
  char body[900];
  const char *said = "Several small models share one card here, and each of them answers when it is asked.";
  int n = snprintf(body, sizeof body,
      "{\"id\":\"%s-00c0ffee00c0ffee00c0ffee\",\"object\":\"%s\",\"created\":1750000000,\"model\":\"%s\",\"choices\":"
      "[{\"index\":0,%s\"%s\"%s,\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}],\"usage\":"
      "{\"prompt_tokens\":211,\"completion_tokens\":19,\"total_tokens\":230,\"prompt_tokens_details\":null},"
      "\"system_fingerprint\":\"bench\"}",
      chat ? "chatcmpl" : "cmpl", chat ? "chat.completion" : "text_completion", settings.model,
      chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":", said, chat ? "}" : "");
  t->len = (size_t)snprintf(t->bytes, sizeof t->bytes,
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
}

static void make_event(struct text *t, bool chat, bool last) {
  char body[700];
  int n = snprintf(body, sizeof body,
      "data: {\"id\":\"%s-00c0ffee00c0ffee00c0ffee\",\"object\":\"%s\",\"created\":1750000000,\"model\":\"%s\","
      "\"choices\":[{\"index\":0,%s\"%c%0*d%c word\"%s,\"logprobs\":null,\"finish_reason\":%s}]%s}\n\n",
      chat ? "chatcmpl" : "cmpl", chat ? "chat.completion.chunk" : "text_completion", settings.model,
      chat ? "\"delta\":{\"content\":" : "\"text\":", STAMP_MARK, STAMP_DIGITS, 0, STAMP_MARK, chat ? "}" : "",
      last ? "\"stop\"" : "null",
      last ? ",\"usage\":{\"prompt_tokens\":211,\"completion_tokens\":100,\"total_tokens\":311}" : "");
  t->len = (size_t)snprintf(t->bytes, sizeof t->bytes, "%x\r\n%s\r\n", n, body);
  t->stamp_at = (size_t)(strchr(t->bytes, STAMP_MARK) + 1 - t->bytes);
}

/* ---- inference ---- */

static void next_request(struct conn *c);

static void answered(struct conn *c) {
  stats.active--;
  next_request(c);
}

static void send_event(struct conn *c) {
  bool last = --c->chunks_left <= 0;
  struct text *t = (last ? event_last : event_mid) + c->chat;
  char b[sizeof STREAM_HEAD + sizeof t->bytes + sizeof STREAM_END];
  size_t n = 0;
  if (c->phase == WAITING) { memcpy(b, STREAM_HEAD, n = sizeof STREAM_HEAD - 1); c->phase = STREAMING; }
  memcpy(b + n, t->bytes, t->len);
  uint64_t stamp = now_ns();
  for (int i = STAMP_DIGITS; i--; stamp /= 10) b[n + t->stamp_at + (size_t)i] = (char)('0' + stamp % 10);
  n += t->len;
  if (last) { memcpy(b + n, STREAM_END, sizeof STREAM_END - 1); n += sizeof STREAM_END - 1; }
  stats.chunks++;
  put(c, b, n);
  if (c->gone) return;
  if (last) { answered(c); return; }
  if (c->out_len) return; /* the reader is slow: go on when the socket has taken this one */
  uint64_t t0 = now_ns(), due = c->due + c->gap_ns;
  heap_add(c, due > t0 ? due : t0);
}

static void due_now(struct conn *c) {
  heap_remove(c);
  if (c->stream) { send_event(c); return; }
  put(c, answer[c->chat].bytes, answer[c->chat].len);
  if (!c->gone) answered(c);
}

static const char *json_value(const char *body, size_t n, const char *quoted_key) {
  size_t k = strlen(quoted_key);
  const char *end = body + n, *p = body;
  while ((p = memmem(p, (size_t)(end - p), quoted_key, k))) {
    p += k;
    while (p < end && (*p == ' ' || *p == '\n')) p++;
    if (p < end && *p == ':') {
      for (p++; p < end && (*p == ' ' || *p == '\n'); p++) {}
      return p;
    }
  }
  return NULL;
}

static void infer(struct conn *c, bool chat, const char *body, size_t n) {
  const char *model = json_value(body, n, "\"model\""), *stream = json_value(body, n, "\"stream\"");
  size_t name = strlen(settings.model), left = model ? (size_t)(body + n - model) : 0;
  stats.body_bytes = n;
  if (settings.digest) {
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)body[i]) * 0x100000001b3ull;
    stats.body_fnv = h;
  }
  if (left < name + 2 || memcmp(model + 1, settings.model, name) || model[name + 1] != '"') {
    stats.refused++;
    put_answer(c, "404 Not Found", "application/json",
        "{\"error\":{\"message\":\"no such model\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}");
    return;
  }
  stats.requests++;
  stats.active++;
  c->chat = chat;
  c->stream = stream && !strncmp(stream, "true", 4);
  c->chunks_left = settings.chunks;
  c->gap_ns = settings.gap_ns;
  c->phase = WAITING;
  c->due = now_ns();
  if (settings.delay_ns) heap_add(c, c->due + settings.delay_ns); else due_now(c);
}

/* ---- the rest of its HTTP ---- */

static long query(const char *path, const char *name, long otherwise) {
  const char *end = path + strcspn(path, " "), *p = memmem(path, (size_t)(end - path), name, strlen(name));
  return p ? atol(p + strlen(name)) : otherwise;
}

static void change_settings(struct conn *c, const char *path) {
  settings.chunks = query(path, "chunks=", settings.chunks);
  settings.gap_ns = (uint64_t)query(path, "gap_us=", (long)(settings.gap_ns / 1000)) * 1000;
  settings.delay_ns = (uint64_t)query(path, "delay_us=", (long)(settings.delay_ns / 1000)) * 1000;
  settings.digest = query(path, "digest=", settings.digest);
  put_answer(c, "200 OK", "application/json", "{}");
}

static void show_stats(struct conn *c) {
  char b[512];
  snprintf(b, sizeof b,
      "{\"requests\":%llu,\"chunks\":%llu,\"aborted\":%llu,\"refused\":%llu,\"active\":%ld,\"open\":%llu,"
      "\"accepted\":%llu,\"body_bytes\":%llu,\"body_fnv\":\"%016llx\"}",
      (unsigned long long)stats.requests, (unsigned long long)stats.chunks, (unsigned long long)stats.aborted,
      (unsigned long long)stats.refused, stats.active, (unsigned long long)stats.open,
      (unsigned long long)stats.accepted, (unsigned long long)stats.body_bytes, (unsigned long long)stats.body_fnv);
  put_answer(c, "200 OK", "application/json", b);
}

static void describe(struct conn *c, const char *form) {
  char b[512];
  snprintf(b, sizeof b, form, settings.model, settings.model);
  put_answer(c, "200 OK", "application/json", b);
}

static bool starts(const char *path, const char *with) { return !strncmp(path, with, strlen(with)); }

static void dispatch(struct conn *c) {
  bool post = starts(c->in, "POST ");
  char *path = memchr(c->in, ' ', c->head_len), *body = c->in + c->head_len;
  if (!path) { drop(c); return; }
  path++;
  if (post && starts(path, "/v1/chat/completions")) infer(c, true, body, c->body_len);
  else if (post && starts(path, "/v1/completions")) infer(c, false, body, c->body_len);
  else if (post && starts(path, "/bench/settings")) change_settings(c, path);
  else if (starts(path, "/bench/stats")) show_stats(c);
  else if (starts(path, "/v1/models"))
    describe(c, "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1750000000,"
                "\"owned_by\":\"bench\",\"root\":\"%s\"}]}");
  else if (starts(path, "/health") || starts(path, "/ping")) put_answer(c, "200 OK", "text/plain", "");
  else if (starts(path, "/get_") || starts(path, "/model_info") || starts(path, "/server_info"))
    describe(c, "{\"model_path\":\"%s\",\"served_model_name\":\"%s\",\"is_generation\":true,\"tp_size\":1,\"dp_size\":1}");
  else put_answer(c, "404 Not Found", "application/json", "{\"error\":{\"message\":\"no such path\",\"code\":404}}");
  if (!c->gone && (c->phase == BODY || c->phase == CHUNKED)) next_request(c); /* else infer saw to it */
}

/* Decodes what has come of a chunked body in place, right behind the head. True when the body is whole. */
static bool decode_chunks(struct conn *c) {
  for (;;) {
    char *p = c->in + c->scan, *end = c->in + c->in_len;
    if (c->in_chunk) {
      size_t n = (size_t)(end - p) < c->chunk_left ? (size_t)(end - p) : c->chunk_left;
      memmove(c->in + c->head_len + c->body_len, p, n);
      c->body_len += n; c->scan += n; c->chunk_left -= n;
      if (c->chunk_left || (size_t)(end - p) - n < 2) return false;
      c->scan += 2;
      c->in_chunk = false;
      continue;
    }
    char *line = memchr(p, '\n', (size_t)(end - p));
    if (!line) return false;
    c->scan = (size_t)(line + 1 - c->in);
    if (c->in_trailer) { if (line - p <= 1) return true; continue; }
    c->chunk_left = strtoul(p, NULL, 16);
    if (c->chunk_left) c->in_chunk = true; else c->in_trailer = true;
  }
}

static bool read_head(struct conn *c) {
  char *end = c->in_len ? memmem(c->in, c->in_len, "\r\n\r\n", 4) : NULL;
  if (!end) { if (c->in_len > 65536) drop(c); return false; }
  end += 2; /* the line end of the last field belongs to what is searched */
  c->head_len = (size_t)(end + 2 - c->in);
  const char *v = header_value(c->in, end, "content-length:");
  c->body_len = v ? strtoul(v, NULL, 10) : 0;
  if (c->body_len > BODY_LIMIT) { drop(c); return false; }
  const char *first_line_end = memchr(c->in, '\r', c->head_len);
  c->close_after = !memcmp(first_line_end - 8, "HTTP/1.0", 8);
  v = header_value(c->in, end, "connection:");
  if (header_is(v, "close")) c->close_after = true;
  if (header_is(v, "keep-alive")) c->close_after = false;
  bool chunked = header_is(header_value(c->in, end, "transfer-encoding:"), "chunked");
  if (chunked) { c->body_len = 0; c->scan = c->head_len; c->in_chunk = c->in_trailer = false; }
  if (header_is(header_value(c->in, end, "expect:"), "100-continue") && c->in_len == c->head_len)
    put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
  c->phase = chunked ? CHUNKED : BODY;
  return !c->gone;
}

static void advance(struct conn *c) {
  while (!c->gone && c->phase < WAITING) {
    if (c->phase == HEAD && !read_head(c)) return;
    if (c->phase == CHUNKED && !decode_chunks(c)) return;
    if (c->phase == BODY && c->in_len < c->head_len + c->body_len) {
      reserve(c, c->head_len + c->body_len + 1);
      return;
    }
    dispatch(c);
  }
}

static void next_request(struct conn *c) {
  size_t used = c->scan ? c->scan : c->head_len + c->body_len; /* scan: only of a chunked body */
  memmove(c->in, c->in + used, c->in_len - used);
  c->in_len -= used;
  c->head_len = c->body_len = c->scan = 0;
  c->phase = HEAD;
  if (c->close_after && !c->out_len) drop(c);
}

static void on_readable(struct conn *c) {
  for (;;) {
    if (c->in_cap - c->in_len < 2048) reserve(c, c->in_len + READ_STEP);
    if (c->in_len > BODY_LIMIT) { drop(c); return; }
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len - 1, 0);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) { drop(c); return; }
    c->in_len += (size_t)n;
    c->in[c->in_len] = 0;
    if (c->in_len < c->in_cap - 1) break; /* a short read: the socket is empty */
    if (c->phase < WAITING) advance(c);   /* may learn the size of the body and reserve it at once */
    if (c->gone) return;
  }
  advance(c);
}

static void on_writable(struct conn *c) {
  ssize_t w = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
  if (w < 0 && errno != EAGAIN) { drop(c); return; }
  if (w > 0) { memmove(c->out, c->out + w, c->out_len - (size_t)w); c->out_len -= (size_t)w; }
  if (c->out_len) return;
  want_write(c, false);
  if (c->phase == STREAMING) heap_add(c, now_ns() + c->gap_ns);
  else if (c->phase == HEAD && c->close_after) drop(c);
}

static void accept_all(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    no_delay(fd);
    struct conn *c = must(calloc(1, sizeof *c));
    c->fd = fd;
    c->heap_at = -1;
    stats.open++;
    stats.accepted++;
    watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, c);
  }
}

static int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in a = loopback(port);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, BACKLOG)) { perror("listen"); exit(2); }
  return fd;
}

int main(int argc, char **argv) {
  static const struct option names[] = {{"port", 1, 0, 'p'}, {"model", 1, 0, 'm'}, {0}};
  int port = 9100;
  for (int o; (o = getopt_long(argc, argv, "", names, NULL)) >= 0;) {
    if (o == 'p') port = atoi(optarg);
    else if (o == 'm') settings.model = optarg;
    else return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  for (int chat = 0; chat < 2; chat++) {
    make_answer(&answer[chat], chat);
    make_event(&event_mid[chat], chat, false);
    make_event(&event_last[chat], chat, true);
  }
  ep = epoll_create1(0);
  int listener = listen_on(port);
  watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  struct epoll_event events[BATCH];
  for (;;) {
    int n = wait_until(ep, events, BATCH, heap.n ? heap.at[0]->due : UINT64_MAX);
    for (int i = 0; i < n; i++) {
      struct conn *c = events[i].data.ptr;
      if (!c) { accept_all(listener); continue; }
      if (!c->gone && events[i].events & EPOLLOUT && c->out_len) on_writable(c);
      if (!c->gone && events[i].events & ~(uint32_t)EPOLLOUT) on_readable(c);
    }
    for (uint64_t t = now_ns(); heap.n && heap.at[0]->due <= t;) {
      struct conn *c = heap.at[0];
      due_now(c);
      if (!c->gone && c->phase == HEAD && c->in_len) advance(c); /* a pipelined request waited its turn */
    }
    free_gone();
  }
}
