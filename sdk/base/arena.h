#pragma once
/*
 * Memory that lives as long as one request: a chain of blocks, freed at once. Replies are built in
 * it, so handlers free nothing. One thread at a time.
 */
#include <glib.h>
#include <protobuf-c/protobuf-c.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *arena);
/* Zeroed memory, aligned for any type. Never NULL. */
void *arena_alloc(Arena *arena, size_t size);
char *arena_strdup(Arena *arena, const char *text); /* NULL gives NULL */
char *arena_strndup(Arena *arena, const char *text, size_t length);
void *arena_memdup(Arena *arena, const void *data, size_t size);
char *arena_printf(Arena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* For protobuf_c_message_unpack(): what it allocates belongs to the arena; free does nothing. */
ProtobufCAllocator *arena_allocator(Arena *arena);
/* The repeated strings of a message as a NULL-terminated list; the strings are not copied. */
char **arena_strv(Arena *arena, size_t n, char *const *items);
/* A copy of a message that lives in the arena with all it points to. */
void *arena_message_copy(Arena *arena, const void *message);
/* Runs destroy(data) when the arena is freed, last added first. */
void arena_defer(Arena *arena, GDestroyNotify destroy, void *data);

/* `Pb__Thing *t = arena_message(a, Pb__Thing, pb__thing);` gives an initialised message. */
#define arena_message(arena, Type, type)                                                           \
	__extension__({                                                                            \
		Type *arena_m = arena_alloc((arena), sizeof(Type));                                \
		type##__init(arena_m);                                                             \
		arena_m;                                                                           \
	})

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Arena, arena_free)
