#pragma once
/*
 * Names by which REST clients know what a server can do, in the order they came into being: clients
 * look names up, and members of a cluster compare how many there are. New ones go to the end.
 */
extern const char *const api_extensions[]; /* NULL-terminated */
extern const unsigned n_api_extensions;
