#pragma once
/*
 * Log lines: a message and key=value pairs, to stderr or --logfile, to syslog where asked, and to
 * subscribers (the event stream). Thread-safe. Values of secret keys never reach it.
 */
#include <glib.h>

typedef enum LogLevel {
	LOG_LEVEL_TRACE,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
} LogLevel;

/* Called with the lock held; must not log. pairs is NULL-terminated: key, value, key, value... */
typedef void (*LogSink)(LogLevel level, const char *message, const char *const *pairs, void *data);

void log_set_level(LogLevel level);      /* what stderr / the file shows; default WARN */
int log_set_file(const char *path);      /* -1 with errno; NULL: stderr */
void log_add_sink(LogSink sink, void *data);
/* log_write(LOG_LEVEL_WARN, "Network not started", "network", name, "err", text, NULL) */
void log_write(LogLevel level, const char *message, ...) G_GNUC_NULL_TERMINATED;

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__, NULL)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__, NULL)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__, NULL)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__, NULL)
