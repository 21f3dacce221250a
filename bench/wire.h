/* What the backend and the load generator share: the clock, non-blocking sockets, the time stamp inside a streamed
 * chunk. Both run on one machine, so one CLOCK_MONOTONIC serves both and no clock has to be agreed on. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define STAMP_MARK '~'   /* not escaped by any JSON writer, and not part of any other text sent here */
#define STAMP_DIGITS 19

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline void no_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline void watch(int ep, int op, int fd, uint32_t events, void *who) {
  struct epoll_event e = {.events = events, .data.ptr = who};
  epoll_ctl(ep, op, fd, &e);
}

/* Waits for events, or until the clock shows `until` (UINT64_MAX: for ever). */
static inline int wait_until(int ep, struct epoll_event *out, int room, uint64_t until) {
  if (until == UINT64_MAX) return epoll_wait(ep, out, room, -1);
  uint64_t t = now_ns(), left = until > t ? until - t : 0;
  struct timespec ts = {(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
  return epoll_pwait2(ep, out, room, &ts, NULL);
}

static inline void *must(void *p) {
  if (!p) { fputs("out of memory\n", stderr); exit(3); }
  return p;
}

/* The value of a header in a head that ends with an empty line, or NULL. `name` ends with its colon. */
static inline const char *header_value(const char *head, const char *end, const char *name) {
  size_t n = strlen(name);
  const char *line = memchr(head, '\n', (size_t)(end - head));
  while (line && ++line + n < end) {
    if (!strncasecmp(line, name, n)) return line + n + strspn(line + n, " \t");
    line = memchr(line, '\n', (size_t)(end - line));
  }
  return NULL;
}

static inline bool header_is(const char *value, const char *word) {
  return value && !strncasecmp(value, word, strlen(word));
}

static inline void raise_file_limit(void) {
  struct rlimit r;
  if (!getrlimit(RLIMIT_NOFILE, &r)) { r.rlim_cur = r.rlim_max; setrlimit(RLIMIT_NOFILE, &r); }
}

#endif
