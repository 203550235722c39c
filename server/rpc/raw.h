#pragma once
/*
 * Methods whose body is bytes: RAW replies (downloads) and client streams (uploads).
 */
#include "server/rpc/exchange.h"
#include "server/rpc/method.h"

int raw_serve(Exchange *ex, const Method *method, ProtobufCMessage *in, Error **err);
