#pragma once
/* Archives to and from a server, with a line of progress. */
#include "cli/server.h"

/* Calls a method that sends Pb__BackupFile messages and writes what they hold to fd. Takes the
 * request. */
int archive_download(
    Server *server, const char *method, json_t *request, int fd, const char *label, Error **err);
/* Calls a method that takes a file in the field "data" of its messages and replies with an
 * operation, and waits for that. Takes the first message. NULL on error. */
json_t *archive_upload(
    Server *server, const char *method, json_t *first, int fd, const char *label, Error **err);
