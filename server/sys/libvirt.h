#pragma once
/*
 * libvirt's C library, loaded when the first virtual machine needs it: linked, it would bring
 * twenty libraries into every start of the server. Only functions of its own documented API, and
 * the single steps of a migration, which every libvirtd serves and libvirt only runs together.
 */
#include "sdk/base/error.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

typedef struct Libvirt {
	__typeof__(virConnectOpen) *connect_open;
	__typeof__(virConnectClose) *connect_close;
	__typeof__(virConnectRef) *connect_ref;
	__typeof__(virConnectIsAlive) *connect_is_alive;
	__typeof__(virConnectNumOfDomains) *connect_domains;
	__typeof__(virDomainCreateXML) *domain_create;
	__typeof__(virDomainLookupByUUIDString) *domain_find;
	__typeof__(virDomainFree) *domain_free;
	__typeof__(virDomainShutdownFlags) *domain_shutdown;
	__typeof__(virDomainDestroyFlags) *domain_destroy;
	__typeof__(virDomainSuspend) *domain_suspend;
	__typeof__(virDomainResume) *domain_resume;
	__typeof__(virDomainGetState) *domain_state;
	__typeof__(virDomainGetXMLDesc) *domain_xml;
	__typeof__(virDomainAttachDeviceFlags) *domain_attach;
	__typeof__(virDomainDetachDeviceFlags) *domain_detach;
	__typeof__(virDomainSetVcpusFlags) *domain_set_vcpus;
	__typeof__(virDomainSetMemoryFlags) *domain_set_memory;
	__typeof__(virDomainBlockResize) *domain_block_resize;
	__typeof__(virDomainSaveFlags) *domain_save;
	__typeof__(virDomainRestoreFlags) *domain_restore;
	__typeof__(virDomainSnapshotCreateXML) *domain_snapshot;
	__typeof__(virDomainSnapshotFree) *snapshot_free;
	__typeof__(virDomainAbortJob) *domain_abort_job;
	__typeof__(virDomainGetJobInfo) *domain_job;
	__typeof__(virDomainGetUUIDString) *domain_uuid;
	__typeof__(virConnectListAllDomains) *connect_list;
	__typeof__(virConnectGetDomainCapabilities) *connect_capabilities;
	__typeof__(virDomainScreenshot) *domain_screenshot;
	__typeof__(virStreamNew) *stream_new;
	__typeof__(virStreamRecv) *stream_receive;
	__typeof__(virStreamFinish) *stream_finish;
	__typeof__(virStreamAbort) *stream_abort;
	__typeof__(virStreamFree) *stream_free;
	__typeof__(virGetLastError) *last_error;
	__typeof__(virSetErrorFunc) *set_error_function;
	__typeof__(virEventRegisterDefaultImpl) *event_register;
	__typeof__(virEventRunDefaultImpl) *event_run;
	__typeof__(virTypedParamsAddString) *params_add_string;
	__typeof__(virTypedParamsFree) *params_free;
	/* NULL where the library keeps them to itself. */
	char *(*migrate_begin)(virDomainPtr domain, virTypedParameterPtr params, int n_params,
	    char **ret_cookie, int *ret_length, unsigned flags);
	int (*migrate_prepare)(virConnectPtr connection, virTypedParameterPtr params, int n_params,
	    const char *cookie, int length, char **ret_cookie, int *ret_length, char **ret_uri,
	    unsigned flags);
	int (*migrate_perform)(virDomainPtr domain, const char *uri, virTypedParameterPtr params,
	    int n_params, const char *cookie, int length, char **ret_cookie, int *ret_length,
	    unsigned flags);
	virDomainPtr (*migrate_finish)(virConnectPtr connection, virTypedParameterPtr params,
	    int n_params, const char *cookie, int length, char **ret_cookie, int *ret_length,
	    unsigned flags, int cancelled);
	int (*migrate_confirm)(virDomainPtr domain, virTypedParameterPtr params, int n_params,
	    const char *cookie, int length, unsigned flags, int cancelled);
} Libvirt;

/* ERROR_UNSUPPORTED where the library is not installed. */
int libvirt_load(const Libvirt **ret_libvirt, Error **err);
/* Whether it has the steps of a migration. */
gboolean libvirt_has_steps(const Libvirt *libvirt);
/* -1 with what libvirt said last on this thread, below `what`. */
int libvirt_error(const Libvirt *lv, Error **err, const char *what);
