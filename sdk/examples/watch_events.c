/*
 * Prints events as they come, one a line:   watch_events [TYPE[,TYPE...] [COUNT]]
 * Ends after COUNT events; without a count it goes on until it is interrupted.
 */
#include <incus/v1/calls.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	incus_client *client = NULL;
	incus_stream *stream = NULL;
	incus_error *error = NULL;
	incus_event *event = NULL;
	incus_get_events_request request = INCUS_GET_EVENTS_REQUEST_INIT;
	long left = argc > 2 ? atol(argv[2]) : -1;
	int got = -1;
	request.type = argc > 1 ? argv[1] : "";
	request.all_projects = 1;
	if (incus_connect_unix(NULL, &client, &error) < 0 ||
	    incus_get_events(client, &request, &stream, &error) < 0) {
		fprintf(stderr, "Cannot watch: %s\n", error->message);
		incus_error_free(error);
		incus_client_free(client);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (left != 0 && (got = incus_get_events_recv(stream, -1, &event, &error)) > 0) {
		long long seconds = event->timestamp ? (long long)event->timestamp->seconds : 0;
		printf("%lld %s %s %s\n", seconds, event->type,
		    *event->project ? event->project : "-", event->metadata);
		incus_event_free(event);
		left -= left > 0;
	}
	if (got < 0 && error)
		fprintf(stderr, "Cannot go on: %s\n", error->message);
	incus_error_free(error);
	incus_stream_free(stream);
	incus_client_free(client);
	return got < 0;
}
