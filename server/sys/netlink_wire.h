#pragma once
/*
 * rtnetlink messages: building one with attributes, sending it and waiting for the answer, walking
 * a dump. Only for server/sys/netlink*.c.
 */
#include "sdk/base/error.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>

/* One message under construction. Attributes beyond the buffer are a programming error (asserted).
 */
typedef struct NlMessage {
	union {
		struct nlmsghdr header;
		uint8_t bytes[4096];
	};
} NlMessage;

/* Starts a message with `body_size` zeroed bytes of family header; returns the family header. */
void *nl_begin(NlMessage *m, uint16_t type, uint16_t flags, size_t body_size);
void nl_put(NlMessage *m, uint16_t type, const void *data, size_t size);
void nl_put_u8(NlMessage *m, uint16_t type, uint8_t value);
void nl_put_u32(NlMessage *m, uint16_t type, uint32_t value);
void nl_put_text(NlMessage *m, uint16_t type, const char *text);
/* Appends raw bytes without an attribute header (the ifinfomsg of a veth peer). */
void *nl_put_raw(NlMessage *m, size_t size);
struct rtattr *nl_nest(NlMessage *m, uint16_t type);
void nl_nest_end(NlMessage *m, struct rtattr *nest);

/* Sends and waits for the acknowledgement: 0, or the kernel's errno (negative), its words in
 * *ret_text (to free; NULL when it said nothing). socket_fd -1: a fresh one. */
int nl_talk(int socket_fd, NlMessage *m, char **ret_text);
/* Sends a dump request; each(message) for every part. 0, or -errno. */
int nl_dump(
    int socket_fd, NlMessage *m, void (*each)(const struct nlmsghdr *h, void *data), void *data);
/* Sends and hands the one answer to each(). */
int nl_ask(
    int socket_fd, NlMessage *m, void (*each)(const struct nlmsghdr *h, void *data), void *data);

/* Fills table[type] for types up to max; others are passed over. */
void nl_parse(const struct rtattr **table, uint16_t max, const void *attributes, int length);
void nl_parse_nested(const struct rtattr **table, uint16_t max, const struct rtattr *nest);
uint32_t nl_u32(const struct rtattr *attribute); /* 0 when NULL */
uint8_t nl_u8(const struct rtattr *attribute);
uint16_t nl_u16(const struct rtattr *attribute);

/* A socket in the calling thread's network namespace; -1 and errno. */
int nl_socket(void);
