#pragma once
/* For guest_api*.c alone. */
#include "server/instance/guest_api.h"
#include "server/instance/private.h"
#include "server/event/event.h"
#include "server/rpc/exchange.h"

/* One request of a process in an instance. */
typedef struct GuestRequest {
	Exchange *ex;
	Instance *instance;
	const char *rest; /* of the path, where the row's ends with "*"; decoded */
} GuestRequest;

/* Answers, whatever it takes. */
void guest_api_answer(GuestRequest *rq);
/* Of all guests; the project of an event is the instance's "PROJECT/NAME". */
EventHub *guest_api_hub(Daemon *d);
/* The configuration as a JSON object. */
void guest_api_add_config(GString *json, const Config *config);
/* GET /1.0/events: as a WebSocket, or one JSON text a line until the client goes. */
int guest_api_events(GuestRequest *rq, Error **err);
