#include "server/rpc/identity.h"
#include "sdk/base/log.h"
#include "sdk/base/x509.h"
#include "server/db/db.h"
#include "server/key/server.h"
#include <grp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One row of the trust store. */
typedef struct Trusted {
	CertificateType type;
	gboolean restricted;
	GPtrArray *projects;   /* names; ends with NULL once loaded */
} Trusted;

typedef struct Identity {
	GMutex lock;
	GHashTable *trusted;   /* fingerprint -> Trusted */
	gint generation;       /* atomic; grows with every reload */
	X509_STORE *ca;        /* PKI mode: clients signed by server.ca; NULL: off */
} Identity;

static void trusted_free(gpointer data)
{
	Trusted *row = data;
	g_ptr_array_unref(row->projects);
	g_free(row);
}

/* --- the trust store --- */

static int load_rows(Tx *tx, void *data, Error **err)
{
	GHashTable *table = data;
	g_hash_table_remove_all(table);
	g_autoptr(Rows) rows = NULL;
	int got;
	if (tx_query(tx, &rows, err, "SELECT fingerprint, type, restricted FROM certificates", "") <
	    0)
		return -1;
	while ((got = rows_next(rows, err)) > 0) {
		Trusted *row = g_new0(Trusted, 1);
		row->type = (CertificateType)rows_int(rows, 1);
		row->restricted = rows_int(rows, 2) != 0;
		row->projects = g_ptr_array_new_with_free_func(g_free);
		g_hash_table_replace(table, g_strdup(rows_text(rows, 0)), row);
	}
	g_autoptr(Rows) projects = NULL;
	if (got < 0 ||
	    tx_query(tx, &projects, err,
		"SELECT c.fingerprint, p.name FROM certificates_projects cp "
		"JOIN certificates c ON c.id = cp.certificate_id JOIN projects p ON p.id = cp.project_id "
		"ORDER BY p.name",
		"") < 0)
		return -1;
	while ((got = rows_next(projects, err)) > 0) {
		Trusted *row = g_hash_table_lookup(table, rows_text(projects, 0));
		if (row)
			g_ptr_array_add(row->projects, g_strdup(rows_text(projects, 1)));
	}
	return got;
}

int identity_reload(Daemon *daemon, Error **err)
{
	Identity *identity = daemon->identity;
	g_autoptr(GHashTable) table = g_hash_table_new_full(
	    g_str_hash, g_str_equal, g_free, trusted_free);
	if (db_read(daemon->db, load_rows, table, err) < 0)
		return error_prefix(err, "Failed to load the trust store");
	GHashTableIter iter;
	gpointer value;
	g_hash_table_iter_init(&iter, table);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		g_ptr_array_add(((Trusted *)value)->projects, NULL);
	g_mutex_lock(&identity->lock);
	GHashTable *old = identity->trusted;
	identity->trusted = g_steal_pointer(&table);
	g_atomic_int_inc(&identity->generation);
	g_mutex_unlock(&identity->lock);
	if (old)
		g_hash_table_unref(old);
	return 0;
}

/* --- PKI mode --- */

/* server.ca, and ca.crl when there is one: certificates signed by it are trusted where
 * core.trust_ca_certificates says so, and others may not even be in the trust store. */
static int load_ca(Daemon *daemon, Identity *identity, Error **err)
{
	g_autofree char *ca = g_build_filename(daemon->dir, "server.ca", NULL);
	g_autofree char *crl = g_build_filename(daemon->dir, "ca.crl", NULL);
	if (access(ca, F_OK) < 0)
		return 0;
	identity->ca = X509_STORE_new();
	if (X509_STORE_load_file(identity->ca, ca) != 1)
		return error_set(err, ERROR_INVALID, "Failed to read \"%s\"", ca);
	if (access(crl, F_OK) == 0) {
		if (X509_STORE_load_file(identity->ca, crl) != 1)
			return error_set(err, ERROR_INVALID, "Failed to read \"%s\"", crl);
		X509_STORE_set_flags(identity->ca, X509_V_FLAG_CRL_CHECK);
	}
	return 0;
}

static gboolean signed_by_ca(Identity *identity, const void *der, size_t length)
{
	const unsigned char *p = der;
	X509 *certificate = d2i_X509(NULL, &p, (long)length);
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	gboolean ok = certificate && context &&
	    X509_STORE_CTX_init(context, identity->ca, certificate, NULL) == 1;
	if (ok) {
		X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT);
		ok = X509_verify_cert(context) == 1;
	}
	X509_STORE_CTX_free(context);
	X509_free(certificate);
	ERR_clear_error();
	return ok;
}

/* --- callers --- */

static char *user_name(uid_t uid)
{
	char buffer[16384];
	struct passwd entry, *found = NULL;
	getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found);
	return found ? g_strdup(found->pw_name) : g_strdup_printf("uid=%u", uid);
}

/* The last name asked for: nearly always root. */
static char *cached_user_name(uid_t uid)
{
	static GMutex lock;
	static GHashTable *names;
	g_mutex_lock(&lock);
	if (!names)
		names = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	const char *known = g_hash_table_lookup(names, GUINT_TO_POINTER(uid));
	if (!known) {
		if (g_hash_table_size(names) > 1000)
			g_hash_table_remove_all(names);
		char *name = user_name(uid);
		g_hash_table_insert(names, GUINT_TO_POINTER(uid), name);
		known = name;
	}
	char *copy = g_strdup(known);
	g_mutex_unlock(&lock);
	return copy;
}

Caller *identity_unix_caller(Daemon *daemon, int fd)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t length = sizeof(peer);
	Caller *caller = g_new0(Caller, 1);
	gboolean known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0;
	/* The socket's mode already decided who may connect: whoever could is an administrator. */
	caller->kind = known ? CALLER_UNIX : CALLER_UNTRUSTED;
	caller->admin = known;
	caller->uid = peer.uid;
	caller->username = known ? cached_user_name(peer.uid) : g_strdup("");
	caller->fingerprint = g_strdup("");
	caller->address = g_strdup("@");
	return caller;
}

static gboolean set_trust(Identity *identity, Caller *caller)
{
	g_mutex_lock(&identity->lock);
	const Trusted *row = identity->trusted ?
	    g_hash_table_lookup(identity->trusted, caller->fingerprint) :
	    NULL;
	if (row) {
		caller->kind = row->type == CERTIFICATE_SERVER ? CALLER_CLUSTER : CALLER_TLS;
		caller->metrics_only = row->type == CERTIFICATE_METRICS;
		caller->admin = !row->restricted && !caller->metrics_only;
		caller->projects = !row->restricted ? NULL : g_strdupv((char **)row->projects->pdata);
	}
	g_mutex_unlock(&identity->lock);
	return row != NULL;
}

/* Fills kind, admin, projects from the fingerprint and certificate of `caller`. */
static void decide(Daemon *daemon, Caller *caller, const void *der, size_t length)
{
	Identity *identity = daemon->identity;
	caller->kind = CALLER_UNTRUSTED;
	if (!identity || !der)
		return;
	gboolean by_ca = identity->ca && signed_by_ca(identity, der, length);
	if (identity->ca && !by_ca)
		; /* PKI mode: nobody else gets in */
	else if (!set_trust(identity, caller) && by_ca &&
	    server_config_bool(daemon->config, "core.trust_ca_certificates")) {
		caller->kind = CALLER_TLS;
		caller->admin = TRUE;
	}
	g_free(caller->username);
	caller->username = g_strdup(caller->kind == CALLER_UNTRUSTED ? "" : caller->fingerprint);
}

Caller *identity_tls_caller(Daemon *daemon, const void *der, size_t length, const char *address)
{
	Caller *caller = g_new0(Caller, 1);
	caller->generation = daemon->identity ? g_atomic_int_get(&daemon->identity->generation) : 0;
	caller->address = g_strdup(address);
	caller->username = g_strdup("");
	caller->fingerprint = length ? x509_fingerprint_der(der, length) : g_strdup("");
	if (length)
		x509_der_to_pem(der, length, &caller->certificate, NULL);
	decide(daemon, caller, length ? der : NULL, length);
	return caller;
}

Caller *identity_refresh(Daemon *daemon, const Caller *caller)
{
	uint8_t *der = NULL;
	size_t length = 0;
	if (!caller->certificate || !daemon->identity ||
	    caller->generation == g_atomic_int_get(&daemon->identity->generation))
		return NULL;
	if (x509_pem_to_der(caller->certificate, &der, &length, NULL) < 0)
		return NULL;
	Caller *fresh = identity_tls_caller(daemon, der, length, caller->address);
	fresh->metrics_port = caller->metrics_port;
	g_free(der);
	return fresh;
}

/* --- start --- */

int identity_start(Daemon *daemon, Error **err)
{
	Identity *identity = g_new0(Identity, 1);
	g_autofree char *cert = g_build_filename(daemon->dir, "server.crt", NULL);
	g_autofree char *key = g_build_filename(daemon->dir, "server.key", NULL);
	g_autofree char *key_pem = NULL;

	g_mutex_init(&identity->lock);
	daemon->identity = identity;
	if (x509_load_or_generate(cert, key, TRUE, &daemon->server_cert_pem, &key_pem, err) < 0 ||
	    x509_own_fingerprint(daemon->server_cert_pem, &daemon->server_cert_fingerprint, err) <
		0)
		return error_prefix(err, "Failed to load the server's certificate");
	explicit_bzero(key_pem, strlen(key_pem));
	if (load_ca(daemon, identity, err) < 0)
		return -1;
	return identity_reload(daemon, err);
}

void identity_stop(Daemon *daemon)
{
	Identity *identity = g_steal_pointer(&daemon->identity);
	if (!identity)
		return;
	if (identity->trusted)
		g_hash_table_unref(identity->trusted);
	X509_STORE_free(identity->ca);
	g_mutex_clear(&identity->lock);
	g_free(identity);
	g_clear_pointer(&daemon->server_cert_pem, g_free);
	g_clear_pointer(&daemon->server_cert_fingerprint, g_free);
}

static const char *const type_names[] = { [CERTIFICATE_CLIENT] = "client",
	[CERTIFICATE_SERVER] = "server",
	[CERTIFICATE_METRICS] = "metrics" };

const char *certificate_type_name(int type)
{
	return type >= CERTIFICATE_CLIENT && type <= CERTIFICATE_METRICS ? type_names[type] :
									   "unknown";
}

int certificate_type_from_name(const char *name)
{
	for (int i = CERTIFICATE_CLIENT; i <= CERTIFICATE_METRICS; i++)
		if (!strcmp(type_names[i], name))
			return i;
	return 0;
}
