#pragma once
/*
 * The command-line tools that storage is made with (lvm2, zfsutils, file systems' own): without a
 * shell, in the C locale, ten minutes at most. What a tool says is the error's message.
 */
#include "sdk/base/error.h"
#include <stdarg.h>

/* `program_run(&err, "zfs", "destroy", name, NULL)`; the same with a list of words or a vector. */
int program_run(Error **err, const char *program, ...) G_GNUC_NULL_TERMINATED;
int program_run_list(Error **err, const char *program, va_list words);
int program_run_vector(const char *const *argv, Error **err);
/* Words that come one after another: GPtrArray of copies, and more of them. Whoever runs it adds
 * the NULL. */
GPtrArray *program_words(const char *program, ...) G_GNUC_NULL_TERMINATED;
void program_add(GPtrArray *words, const char *word, ...) G_GNUC_NULL_TERMINATED;
/* What it prints (g_free). */
int program_output(const char *const *argv, char **ret_output, Error **err);
/* Its standard input or output is a stream, however long it takes; 0: none. */
int program_stream(const char *const *argv, int input, int output, Error **err);
