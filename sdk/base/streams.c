#include "sdk/base/streams.h"
#include "sdk/base/names.h"
#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

enum { DOCUMENT_LIMIT = 64 << 20, DOCUMENTS_MAX = 64 };
#define FILE_LIMIT ((json_int_t)1 << 50) /* so that sums cannot overflow */

typedef struct Entry {
	Pb__Image image; /* first: Pb__Image pointers that are handed out are entries */
	StreamsFile metadata, rootfs;
} Entry;

struct Streams {
	char *url; /* without a slash at the end */
	char *certificate, *proxy, *no_proxy;
	gboolean (*cancelled)(void *data);
	void *data;
	gboolean loaded;
	GPtrArray *images; /* Entry */
	GStringChunk *text;
};

/* Kinds of root file system, best first for each type, and where their fingerprint is. */
static const struct {
	const char *ftype, *combined, *type;
} root_kinds[] = {
    {"squashfs", "combined_squashfs_sha256", "container"},
    {"root.tar.xz", "combined_rootxz_sha256", "container"},
    {"disk-kvm.img", "combined_disk-kvm-img_sha256", "virtual-machine"},
    {"uefi1.img", "combined_uefi1-img_sha256", "virtual-machine"},
    {"disk1.img", "combined_disk1-img_sha256", "virtual-machine"},
};

static const struct {
	const char *stream, *kernel;
} architectures[] = {
    {"amd64", "x86_64"},
    {"arm64", "aarch64"},
    {"armhf", "armv7l"},
    {"armel", "armv6l"},
    {"i386", "i686"},
    {"ppc64el", "ppc64le"},
    {"powerpc", "ppc"},
    {"riscv64", "riscv64"},
    {"s390x", "s390x"},
    {"loong64", "loongarch64"},
};

static const char *kernel_architecture(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(architectures); i++)
		if (strcmp(architectures[i].stream, name) == 0)
			return architectures[i].kernel;
	return name;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

int streams_open(const Fetch *server, Streams **ret, Error **err)
{
	const char *url = server->url;
	if (!g_str_has_prefix(url, "https://") && !g_str_has_prefix(url, "http://") &&
	    !g_str_has_prefix(url, "file://"))
		return error_set(
		    err, ERROR_INVALID, "\"%s\" is no address of an image server", url);
	Streams *streams = g_new0(Streams, 1);
	streams->url = g_strdup(url);
	for (size_t length = strlen(url); length > 8 && streams->url[length - 1] == '/'; length--)
		streams->url[length - 1] = '\0';
	streams->certificate = g_strdup(server->certificate);
	streams->proxy = g_strdup(server->proxy);
	streams->no_proxy = g_strdup(server->no_proxy);
	streams->cancelled = server->cancelled;
	streams->data = server->data;
	streams->images = g_ptr_array_new();
	streams->text = g_string_chunk_new(4096);
	*ret = streams;
	return 0;
}

static void entry_free(Entry *entry)
{
	for (size_t i = 0; i < entry->image.n_properties; i++)
		g_free(entry->image.properties[i]);
	for (size_t i = 0; i < entry->image.n_aliases; i++)
		g_free(entry->image.aliases[i]);
	g_free(entry->image.properties);
	g_free(entry->image.aliases);
	g_free(entry->image.created_at);
	g_free(entry->image.uploaded_at);
	g_free(entry->image.expires_at);
	g_free(entry);
}

void streams_free(Streams *streams)
{
	if (!streams)
		return;
	for (guint i = 0; i < streams->images->len; i++)
		entry_free(streams->images->pdata[i]);
	g_ptr_array_free(streams->images, TRUE);
	g_string_chunk_free(streams->text);
	g_free(streams->url);
	g_free(streams->certificate);
	g_free(streams->proxy);
	g_free(streams->no_proxy);
	g_free(streams);
}

const char *streams_url(const Streams *streams)
{
	return streams->url;
}

static Fetch request_to(const Streams *streams, const char *url)
{
	return (Fetch){.url = url,
	    .certificate = streams->certificate,
	    .proxy = streams->proxy,
	    .no_proxy = streams->no_proxy,
	    .cancelled = streams->cancelled,
	    .data = streams->data};
}

/* Paths in documents are relative to the server and stay below it. */
static gboolean path_is_safe(const char *path)
{
	return *path && *path != '/' && !strstr(path, "..") && !strstr(path, "://") &&
	       !strpbrk(path, "\\?# ") && name_check_line(path, NULL) == 0;
}

static gboolean is_sha256(const char *text)
{
	return strlen(text) == 64 && name_check_fingerprint(text, NULL) == 0;
}

static json_t *parse_document(const char *url, const char *text, size_t length, Error **err)
{
	json_error_t problem;
	json_t *tree = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
	if (json_is_object(tree))
		return tree;
	error_set(err, ERROR_INVALID, "\"%s\" is no JSON object: %s", url,
	    tree ? "it is another value" : problem.text);
	json_decref(tree);
	return NULL;
}

static json_t *load_document(Streams *streams, const char *path, Error **err)
{
	g_autofree char *url = g_strconcat(streams->url, "/", path, NULL), *text = NULL;
	size_t length;
	if (!path_is_safe(path)) {
		error_set(err, ERROR_INVALID, "The image server \"%s\" names a strange path \"%s\"",
		    streams->url, path);
		return NULL;
	}
	Fetch request = request_to(streams, url);
	if (fetch_text(&request, DOCUMENT_LIMIT, &text, &length, err) < 0)
		return NULL;
	return parse_document(url, text, length, err);
}

static char *keep(Streams *streams, const char *text)
{
	return g_string_chunk_insert_const(streams->text, text);
}

static Google__Protobuf__Timestamp *timestamp_new(GDateTime *time)
{
	Google__Protobuf__Timestamp *stamp = g_new(Google__Protobuf__Timestamp, 1);
	google__protobuf__timestamp__init(stamp);
	stamp->seconds = g_date_time_to_unix(time);
	return stamp;
}

/* "20231010_13:00", "20231010" or "2028-04-01"; NULL for the rest. */
static Google__Protobuf__Timestamp *parse_day(const char *text)
{
	int year, month, day, hour = 0, minute = 0;
	if (sscanf(text, "%4d%2d%2d_%2d:%2d", &year, &month, &day, &hour, &minute) < 3 &&
	    sscanf(text, "%4d-%2d-%2d", &year, &month, &day) != 3)
		return NULL;
	g_autoptr(GDateTime) time = g_date_time_new_utc(year, month, day, hour, minute, 0);
	return time ? timestamp_new(time) : NULL;
}

static void add_property(Streams *streams, Pb__Image *image, const char *key, const char *value)
{
	if (!*value)
		return;
	Pb__Image__PropertiesEntry *entry = g_new(Pb__Image__PropertiesEntry, 1);
	pb__image__properties_entry__init(entry);
	entry->key = keep(streams, key);
	entry->value = keep(streams, value);
	image->properties =
	    g_renew(Pb__Image__PropertiesEntry *, image->properties, image->n_properties + 1);
	image->properties[image->n_properties++] = entry;
}

static void add_alias(Streams *streams, Pb__Image *image, const char *name)
{
	Pb__ImageAlias *alias = g_new(Pb__ImageAlias, 1);
	pb__image_alias__init(alias);
	alias->name = keep(streams, name);
	image->aliases = g_renew(Pb__ImageAlias *, image->aliases, image->n_aliases + 1);
	image->aliases[image->n_aliases++] = alias;
}

/* FALSE when the item is unusable. */
static gboolean read_file(Streams *streams, const json_t *item, StreamsFile *file)
{
	json_int_t size = json_integer_value(json_object_get(item, "size"));
	if (!path_is_safe(text_of(item, "path")) || !is_sha256(text_of(item, "sha256")) ||
	    size < 0 || size > FILE_LIMIT)
		return FALSE;
	file->path = keep(streams, text_of(item, "path"));
	file->sha256 = keep(streams, text_of(item, "sha256"));
	file->size = size;
	return TRUE;
}

/* What all images of one version have in common. */
typedef struct Version {
	Streams *streams;
	const json_t *product, *items;
	const char *name;
	GHashTable *known; /* types that a newer version of the product has: aliases mean those */
} Version;

/* What the machine must have: {"secureboot": "false"}. */
static void describe_requirements(Streams *streams, Pb__Image *image, const json_t *requirements)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)requirements, key, value) {
		g_autofree char *name = g_strconcat("requirements.", key, NULL);
		if (json_is_string(value))
			add_property(streams, image, name, json_string_value(value));
	}
}

static void describe(const Version *version, Pb__Image *image, const char *kind)
{
	Streams *streams = version->streams;
	const json_t *product = version->product;
	const char *variant = text_of(product, "variant"),
		   *title = text_of(product, "release_title");
	add_property(streams, image, "architecture", text_of(product, "arch"));
	add_property(streams, image, "label", text_of(version->items, "label"));
	add_property(streams, image, "os", text_of(product, "os"));
	add_property(streams, image, "release", text_of(product, "release"));
	add_property(streams, image, "version", text_of(product, "version"));
	add_property(streams, image, "variant", variant);
	add_property(streams, image, "serial", version->name);
	add_property(streams, image, "type", kind);
	g_autofree char *description = g_strdup_printf("%s %s %s%s%s (%s)", text_of(product, "os"),
	    *title ? title : text_of(product, "release"), text_of(product, "arch"),
	    *variant && strcmp(variant, "default") != 0 ? " " : "",
	    *variant && strcmp(variant, "default") != 0 ? variant : "", version->name);
	add_property(streams, image, "description", description);
	describe_requirements(streams, image, json_object_get(product, "requirements"));
	describe_requirements(streams, image, json_object_get(product, "lxd_requirements"));
}

static Entry *entry_new(
    const Version *version, const char *fingerprint, const char *kind, const char *type)
{
	Streams *streams = version->streams;
	Entry *entry = g_new0(Entry, 1);
	Pb__Image *image = &entry->image;
	pb__image__init(image);
	image->architecture = keep(streams, kernel_architecture(text_of(version->product, "arch")));
	image->fingerprint = keep(streams, fingerprint);
	image->type = keep(streams, type);
	image->public_ = TRUE;
	image->created_at = parse_day(version->name);
	image->uploaded_at = parse_day(version->name);
	image->expires_at = parse_day(text_of(version->product, "support_eol"));
	describe(version, image, kind);
	if (!g_hash_table_contains(version->known, type)) {
		g_auto(GStrv) names = g_strsplit(text_of(version->product, "aliases"), ",", -1);
		for (int i = 0; names[i]; i++)
			if (*g_strstrip(names[i]))
				add_alias(streams, image, names[i]);
	}
	return entry;
}

static void entry_add(Streams *streams, Entry *entry)
{
	const char *slash = strrchr(entry->metadata.path, '/');
	entry->image.filename = keep(streams, slash ? slash + 1 : entry->metadata.path);
	entry->image.size = entry->metadata.size + entry->rootfs.size;
	g_ptr_array_add(streams->images, entry);
}

static const json_t *item_of(const json_t *items, const char *ftype)
{
	const char *name;
	json_t *item;
	json_object_foreach((json_t *)items, name, item)
		if (strcmp(text_of(item, "ftype"), ftype) == 0)
			return item;
	return NULL;
}

static void read_split(const Version *version, const json_t *metadata, size_t kind)
{
	const json_t *items = json_object_get(version->items, "items");
	const json_t *rootfs = item_of(items, root_kinds[kind].ftype);
	const char *fingerprint = text_of(metadata, root_kinds[kind].combined);
	if (!*fingerprint && kind < 2)
		fingerprint = text_of(metadata, "combined_sha256");
	if (!rootfs || !is_sha256(fingerprint))
		return;
	Entry *entry =
	    entry_new(version, fingerprint, root_kinds[kind].ftype, root_kinds[kind].type);
	if (read_file(version->streams, metadata, &entry->metadata) &&
	    read_file(version->streams, rootfs, &entry->rootfs))
		entry_add(version->streams, entry);
	else
		entry_free(entry);
}

static void read_unified(const Version *version, const json_t *item)
{
	if (!is_sha256(text_of(item, "sha256")))
		return;
	Entry *entry = entry_new(version, text_of(item, "sha256"), "tar.gz", "container");
	if (read_file(version->streams, item, &entry->metadata))
		entry_add(version->streams, entry);
	else
		entry_free(entry);
}

/* lxd.tar.xz is what servers that also serve LXD call the same file. */
static void read_version(const Version *version)
{
	const json_t *items = json_object_get(version->items, "items");
	const json_t *metadata = item_of(items, "incus.tar.xz"),
		     *unified = item_of(items, "incus_combined.tar.gz");
	metadata = metadata ? metadata : item_of(items, "lxd.tar.xz");
	unified = unified ? unified : item_of(items, "lxd_combined.tar.gz");
	for (size_t kind = 0; metadata && kind < G_N_ELEMENTS(root_kinds); kind++)
		read_split(version, metadata, kind);
	if (unified)
		read_unified(version, unified);
}

/* Aliases of older versions are not those of the types that this one had. */
static void remember_types(const Version *version, guint first)
{
	const GPtrArray *images = version->streams->images;
	for (guint i = first; i < images->len; i++)
		g_hash_table_add(version->known, ((Entry *)images->pdata[i])->image.type);
}

static int newest_first(gconstpointer a, gconstpointer b)
{
	return -strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_product(Streams *streams, const json_t *product)
{
	json_t *versions = json_object_get(product, "versions"), *items;
	const char *name;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	json_object_foreach(versions, name, items)
		g_ptr_array_add(names, (char *)name);
	g_ptr_array_sort(names, newest_first);
	g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);
	for (guint i = 0; i < names->len; i++) {
		Version version = {streams, product, json_object_get(versions, names->pdata[i]),
		    names->pdata[i], known};
		guint first = streams->images->len;
		read_version(&version);
		remember_types(&version, first);
	}
}

static int read_products(Streams *streams, json_t *tree)
{
	json_t *product;
	const char *name;
	if (!tree)
		return -1;
	json_object_foreach(json_object_get(tree, "products"), name, product)
		read_product(streams, product);
	json_decref(tree);
	return 0;
}

int streams_parse(Streams *streams, const char *text, size_t length, Error **err)
{
	streams->loaded = TRUE;
	return read_products(streams, parse_document(streams->url, text, length, err));
}

static int load(Streams *streams, Error **err)
{
	if (streams->loaded)
		return 0;
	json_t *index = load_document(streams, "streams/v1/index.json", err);
	if (!index)
		return -1;
	json_t *part;
	const char *name;
	int result = 0, documents = 0;
	json_object_foreach(json_object_get(index, "index"), name, part) {
		/* Some servers list products that are no images. */
		if (result < 0 || strcmp(text_of(part, "datatype"), "image-downloads") != 0)
			continue;
		result = ++documents > DOCUMENTS_MAX
			     ? error_set(err, ERROR_INVALID,
				   "The image server \"%s\" names too many documents", streams->url)
			     : read_products(
				   streams, load_document(streams, text_of(part, "path"), err));
	}
	json_decref(index);
	streams->loaded = result == 0;
	return result;
}

int streams_images(Streams *streams, Pb__Image *const **ret, size_t *ret_n, Error **err)
{
	if (load(streams, err) < 0)
		return -1;
	*ret = (Pb__Image *const *)streams->images->pdata;
	*ret_n = streams->images->len;
	return 0;
}

static Entry *find(Streams *streams, const char *fingerprint, Error **err)
{
	if (load(streams, err) < 0)
		return NULL;
	Entry *found = NULL;
	for (guint i = 0; *fingerprint && i < streams->images->len; i++) {
		Entry *entry = streams->images->pdata[i];
		if (!g_str_has_prefix(entry->image.fingerprint, fingerprint))
			continue;
		if (found && strcmp(found->image.fingerprint, entry->image.fingerprint) != 0) {
			error_set(err, ERROR_INVALID, "Several images of \"%s\" start with \"%s\"",
			    streams->url, fingerprint);
			return NULL;
		}
		found = entry;
	}
	if (!found)
		error_set(err, ERROR_NOT_FOUND, "Image \"%s\" not found on \"%s\"", fingerprint,
		    streams->url);
	return found;
}

int streams_image(Streams *streams, const char *fingerprint, const Pb__Image **ret, Error **err)
{
	Entry *entry = find(streams, fingerprint, err);
	if (!entry)
		return -1;
	*ret = &entry->image;
	return 0;
}

/* `name` may end in the architecture as the server calls it: "debian/12/arm64". */
static gboolean has_alias(const Entry *entry, const char *name, const char *architecture)
{
	for (size_t i = 0; i < entry->image.n_aliases; i++) {
		const char *alias = entry->image.aliases[i]->name, *rest = name + strlen(alias);
		if (!g_str_has_prefix(name, alias))
			continue;
		if (!*rest)
			return strcmp(entry->image.architecture, architecture) == 0;
		if (*rest == '/' &&
		    strcmp(kernel_architecture(rest + 1), entry->image.architecture) == 0)
			return TRUE;
	}
	return FALSE;
}

int streams_alias(Streams *streams, const char *alias, const char *architecture, const char *type,
    const Pb__Image **ret, Error **err)
{
	struct utsname host;
	uname(&host);
	if (load(streams, err) < 0)
		return -1;
	const Entry *found = NULL;
	for (guint i = 0; i < streams->images->len; i++) {
		const Entry *entry = streams->images->pdata[i];
		if (type && *type && strcmp(entry->image.type, type) != 0)
			continue;
		/* Containers come first within a version, and the better form first. */
		if (!found && has_alias(entry, alias,
				  architecture && *architecture ? architecture : host.machine))
			found = entry;
	}
	if (!found)
		return error_set(
		    err, ERROR_NOT_FOUND, "Alias \"%s\" not found on \"%s\"", alias, streams->url);
	*ret = &found->image;
	return 0;
}

int streams_files(Streams *streams, const char *fingerprint, StreamsFile *ret_metadata,
    StreamsFile *ret_rootfs, Error **err)
{
	Entry *entry = find(streams, fingerprint, err);
	if (!entry)
		return -1;
	*ret_metadata = entry->metadata;
	*ret_rootfs = entry->rootfs;
	return 0;
}

typedef struct Download {
	const StreamsFile *file;
	const char *url;
	uint64_t done;
	int (*sink)(const void *bytes, size_t length, void *data, Error **err);
	void *sink_data;
	const Streams *streams;
} Download;

static int wrong_size(const Download *download, const char *word, Error **err)
{
	return error_set(err, ERROR_INVALID,
	    "\"%s\" has %s than the %" G_GUINT64_FORMAT " bytes that its server promises",
	    download->url, word, (guint64)download->file->size);
}

static int take(const void *bytes, size_t length, void *data, Error **err)
{
	Download *download = data;
	download->done += length;
	if (download->done > download->file->size)
		return wrong_size(download, "more", err);
	return download->sink(bytes, length, download->sink_data, err);
}

static gboolean download_cancelled(void *data)
{
	const Streams *streams = ((Download *)data)->streams;
	return streams->cancelled && streams->cancelled(streams->data);
}

int streams_download(Streams *streams, const StreamsFile *file,
    int (*sink)(const void *bytes, size_t length, void *data, Error **err), void *data, Error **err)
{
	g_autofree char *url = g_strconcat(streams->url, "/", file->path, NULL);
	Download download = {
	    .file = file, .url = url, .sink = sink, .sink_data = data, .streams = streams};
	Fetch request = request_to(streams, url);
	request.sink = take;
	request.resume = TRUE;
	request.cancelled = download_cancelled;
	request.data = &download;
	if (fetch_run(&request, err) < 0)
		return -1;
	return download.done == file->size ? 0 : wrong_size(&download, "less", err);
}
