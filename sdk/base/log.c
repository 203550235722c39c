#include "sdk/base/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS_MAX = 32 };

typedef struct Sink {
	LogSink write;
	void *data;
} Sink;

static GMutex lock;
static gint shown = LOG_LEVEL_WARN;
static int file = STDERR_FILENO;
static Sink sinks[8];
static gint n_sinks;

static const char *const level_names[] = {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR"};

void log_set_level(LogLevel level)
{
	g_atomic_int_set(&shown, level);
}

int log_set_file(const char *path)
{
	int fd = STDERR_FILENO;
	if (path)
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0)
		return -1;
	g_mutex_lock(&lock);
	if (file != STDERR_FILENO)
		close(file);
	file = fd;
	g_mutex_unlock(&lock);
	return 0;
}

void log_add_sink(LogSink sink, void *data)
{
	g_mutex_lock(&lock);
	if (n_sinks < (gint)G_N_ELEMENTS(sinks)) {
		sinks[n_sinks] = (Sink){sink, data};
		g_atomic_int_inc(&n_sinks);
	}
	g_mutex_unlock(&lock);
}

/* Control characters would let a value forge lines. */
static void append_quoted(GString *line, const char *value)
{
	gboolean plain = *value != 0;
	for (const unsigned char *c = (const unsigned char *)value; *c; c++)
		plain = plain && *c > ' ' && *c != '"' && *c != '=' && *c != '\\' && *c != 0x7f;
	if (plain) {
		g_string_append(line, value);
		return;
	}
	g_string_append_c(line, '"');
	for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
		if (*c == '\n')
			g_string_append(line, "\\n");
		else if (*c < ' ' || *c == 0x7f)
			g_string_append_printf(line, "\\x%02x", *c);
		else {
			if (*c == '"' || *c == '\\')
				g_string_append_c(line, '\\');
			g_string_append_c(line, (char)*c);
		}
	}
	g_string_append_c(line, '"');
}

static void write_line(LogLevel level, const char *message, const char *const *pairs)
{
	g_autoptr(GDateTime) now = g_date_time_new_now_utc();
	g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");
	g_autoptr(GString) line = g_string_new(NULL);
	g_string_printf(line, "time=\"%s\" level=%s msg=", time, level_names[level]);
	append_quoted(line, message);
	for (; pairs[0]; pairs += 2) {
		g_string_append_printf(line, " %s=", pairs[0]);
		append_quoted(line, pairs[1]);
	}
	g_string_append_c(line, '\n');
	size_t done = 0;
	while (done < line->len) {
		ssize_t n = write(file, line->str + done, line->len - done);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
}

void log_write(LogLevel level, const char *message, ...)
{
	if ((gint)level < g_atomic_int_get(&shown) && g_atomic_int_get(&n_sinks) == 0)
		return;
	const char *pairs[PAIRS_MAX * 2 + 1];
	int n = 0;
	va_list args;
	va_start(args, message);
	for (const char *key; n < PAIRS_MAX * 2 && (key = va_arg(args, const char *));) {
		const char *value = va_arg(args, const char *);
		pairs[n++] = key;
		pairs[n++] = value ? value : ""; /* a NULL value also ends the list */
		if (!value)
			break;
	}
	va_end(args);
	pairs[n] = NULL;
	g_mutex_lock(&lock);
	if ((gint)level >= g_atomic_int_get(&shown))
		write_line(level, message, pairs);
	for (int i = 0; i < n_sinks; i++)
		sinks[i].write(level, message, pairs, sinks[i].data);
	g_mutex_unlock(&lock);
}
