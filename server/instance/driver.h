#pragma once
/*
 * What kind of machine an instance is: a container of liblxc or a virtual machine. One row of
 * functions each; the flows above (power.c, update.c, table.c, console.c) are the same for both and
 * are the only callers. For the files of this folder only.
 *
 * Words. A running instance has a Runtime; its monitor is the process whose end is the instance's.
 * A *start* goes in steps, each of which may fail: ids -> root volume mounted -> settle -> devices
 * -> spawn. What the steps made is taken back by the flow, but for what release() takes away. The
 * instance's `change` lock is held in every call but status's.
 */
#include "server/guest/guest.h"
#include "server/instance/console.h"
#include "server/instance/private.h"
#include "server/instance/state.h"

/* What a start has come to. */
typedef struct StartPlan {
	DeviceHost host;
	DeviceStart devices;
	Pool *pool;
	char *path;	 /* the root volume's directory */
	char *directory; /* INCUS_DIR/run/NAME */
	gboolean mounted, devices_up;
	const StartGate *gate; /* NULL: none */
	/* Containers' alone. */
	GArray *idmap;
	char *idmap_text;
	gboolean mapped; /* the root file system is mounted with the id map */
} StartPlan;

typedef struct InstanceDriver {
	const char *name; /* as GET /1.0 calls it */
	/* ERROR_UNSUPPORTED, naming what is missing, when the host cannot run any. */
	int (*available)(Error **err);
	/* Demands on an expanded configuration beyond keys and devices. d NULL: as far as that can
	 * be told without a server. */
	int (*check)(Daemon *d, const Config *expanded, Error **err);
	/* Values that must be chosen before devices see the instance. */
	int (*choose)(Instance *i, StartPlan *plan, Error **err);
	/* The root volume is mounted: makes what is on it ready. */
	int (*settle)(Instance *i, StartPlan *plan, Error **err);
	/* Devices are there: the machine runs when this returns. */
	int (*spawn)(Instance *i, StartPlan *plan, Runtime **ret_runtime, Error **err);
	/* It does not run (any more): what a start made beside devices and mounts goes. */
	void (*release)(Instance *i);
	/* What runs since before this server; NULL, and no error, when it ended. */
	int (*adopt)(Instance *i, Runtime **ret_runtime, Error **err);

	/* Asks it to shut down, which it does when it likes. */
	int (*shut_down)(Instance *i, Runtime *r, Error **err);
	/* Ends it, and waits for that. */
	int (*kill)(Instance *i, Runtime *r, Error **err);
	/* Ends it with its processes kept on disk; it goes on running when that fails.
	 * NULL: it cannot be. */
	int (*save)(Instance *i, Runtime *r, Error **err);
	/* Moves while it runs (live.h). NULL: it does not. */
	const struct LiveDriver *live;
	int (*freeze)(Instance *i, Runtime *r, gboolean frozen, Error **err);
	/* Cheap: lists ask it. */
	gboolean (*frozen)(const Runtime *r);
	/* Having ended by itself, it wants to be started again. */
	gboolean (*wants_reboot)(Instance *i);
	/* Running or not, the expanded configuration has become another one. May be NULL. */
	void (*configured)(Instance *i, const Config *before, const Config *after);
	/* The running instance's expanded configuration has become another one. */
	int (*update)(Instance *i, const Config *before, const Config *after, Error **err);

	/* Figures of what runs: processes, CPU, memory, networks. Waits for nobody; inside: what
	 * its agent said (Pb__InstanceState), NULL when there is none. */
	void (*state)(
	    Instance *i, Runtime *r, const void *inside, Arena *arena, Pb__InstanceState *out);
	/* Of what runs. */
	int (*console_open)(Instance *i, Console *ret_console, Error **err);
	int (*console_log)(
	    Instance *i, gboolean clear, int *ret_fd, uint64_t *ret_size, Error **err);
	/* A connection of its own to what shows its screen (SPICE), and a picture of that (PNG).
	 * NULL: it has none. */
	int (*screen_open)(Instance *i, int *ret_fd, Error **err);
	int (*screen_shot)(Instance *i, int *ret_fd, uint64_t *ret_size, Error **err);
	/* NULL: commands are run in it and its files are reached through incus-spawner. Else a new
	 * reference to its inside, which may be offline; ERROR_INVALID when it does not run. */
	int (*guest)(Instance *i, Guest **ret_guest, Error **err);
} InstanceDriver;

extern const InstanceDriver instance_driver_lxc, instance_driver_vm;
const InstanceDriver *instance_driver_of(InstanceType type);
const InstanceDriver *instance_driver(const Instance *i);

/* lxc_console.c */
int lxc_console_open(Instance *i, Console *ret_console, Error **err);
int lxc_console_log(Instance *i, gboolean clear, int *ret_fd, uint64_t *ret_size, Error **err);
/* state.c: the figures of a control group and a network namespace. */
void state_of_container(
    Instance *i, Runtime *r, const void *inside, Arena *arena, Pb__InstanceState *out);
