#pragma once
/*
 * Trust tokens as people pass them on: Base64 of a JSON object.
 */
#include "cli/server.h"

typedef struct Token {
	const char *client_name;
	const char *fingerprint; /* of the server's certificate */
	json_t *addresses;       /* of strings */
	const char *text;        /* the token itself */
} Token;

/* The token of a token operation, in arena memory; NULL when it is not one for a certificate. */
const char *token_of_operation(Cli *cli, const json_t *operation, const char **ret_name);
/* False when the text is no token. */
bool token_parse(Cli *cli, const char *text, Token *ret);
