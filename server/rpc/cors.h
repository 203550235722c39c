#pragma once
/*
 * Cross-origin headers for browsers, from core.https_allowed_*.
 */
#include "server/rpc/exchange.h"

/* Adds them where the request has an Origin. */
void cors_headers(Exchange *ex);
