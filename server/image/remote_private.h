#pragma once
/* Inside of an opened source, for server/image/remote*.c. */
#include "sdk/base/fetch.h"
#include "sdk/base/streams.h"
#include "server/image/remote.h"

typedef struct RemoteProtocol {
	const char *name;
	int number; /* in images_source */
	int (*find)(ImageRemote *remote, Arena *arena, Pb__Image **ret_image, Error **err);
	int (*fetch)(ImageRemote *remote, const Pb__Image *image, Error **err);
} RemoteProtocol;

struct ImageRemote {
	Daemon *daemon;
	Operation *op;
	Arena *arena;
	const RemoteProtocol *protocol;
	const Pb__ImagesPostSource *source;
	Pb__ImageSource origin;
	char *server;	    /* without a slash at the end */
	char *architecture; /* asked for, or set for the project; "" for this machine's */
	char *proxy, *no_proxy;
	Streams *streams;
	/* while bytes arrive: */
	ImageImport *import;
	uint64_t done, total; /* total 0: not promised */
	int64_t started_us;
};

extern const RemoteProtocol remote_incus, remote_streams, remote_direct;

/* A request with the server's certificate and the daemon's proxies; `data` is the remote. */
Fetch remote_request(ImageRemote *remote, const char *url);
gboolean remote_cancelled(void *remote);
/* A sink: into the import, counted against what was promised. */
int remote_take(const void *bytes, size_t length, void *remote, Error **err);
