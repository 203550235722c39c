#pragma once
/*
 * Copies between two servers: what instances and volumes have in common, which is who connects to
 * whom and who waits for whom. Not installed.
 */
#include <incus/migration.h>
#include "sdk/base/arena.h"
#include "sdk/base/map.h"

/* Where the other side waits: fields of a request's source or target. */
typedef struct CopyMeeting {
	const char *mode;
	const char *operation, *certificate; /* NULL: the other side will come */
	const Config *secrets;
} CopyMeeting;

typedef struct Copy Copy;
struct Copy {
	incus_client *from, *to;
	incus_copy_mode mode;
	incus_operation_progress progress;
	void *progress_data;
	gboolean either; /* the source's word is enough, too */
	/* Ask the source to send and the target to receive; target NULL: it waits to be connected
	 * to. */
	int (*send)(
	    Copy *copy, const CopyMeeting *target, Pb__Operation **ret, incus_error **err);
	int (*receive)(
	    Copy *copy, const CopyMeeting *source, Pb__Operation **ret, incus_error **err);
	void *data; /* theirs */
	Arena *arena;
	GMutex lock; /* of the caller's progress function, and: */
	gboolean stopped; /* it said so */
};

/* Where others reach a server: what its certificate is (PEM, or "") and addresses to try in order,
 * NULL-terminated; in the arena, or the client's. */
typedef struct CopyPlace {
	const char *certificate;
	char **urls;
} CopyPlace;
int copy_find_place(Arena *arena, incus_client *client, CopyPlace *ret_place, incus_error **err);

/* As requests say it, in the arena; NULL stays NULL. */
Pb__MigrationTarget *migration_target(Copy *copy, const CopyMeeting *meeting);
/* 0 once the target has all. */
int copy_run(Copy *copy, incus_error **err);
