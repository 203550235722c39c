#include "sdk/base/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_SIZE = 4096 - 64, ALIGN = _Alignof(max_align_t) };

typedef struct Block {
	struct Block *next;
	size_t size, used;
	_Alignas(max_align_t) unsigned char data[];
} Block;

typedef struct Deferred {
	struct Deferred *next;
	GDestroyNotify destroy;
	void *data;
} Deferred;

struct Arena {
	Block *blocks; /* the first one is being filled */
	Deferred *deferred;
	ProtobufCAllocator allocator;
};

static void *allocator_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void allocator_free(void *data, void *pointer)
{
	(void)data;
	(void)pointer;
}

Arena *arena_new(void)
{
	Arena *arena = g_new0(Arena, 1);
	arena->allocator = (ProtobufCAllocator){
	    .alloc = allocator_alloc, .free = allocator_free, .allocator_data = arena};
	return arena;
}

void arena_free(Arena *arena)
{
	if (!arena)
		return;
	for (Deferred *d = arena->deferred; d; d = d->next)
		d->destroy(d->data);
	for (Block *block = arena->blocks, *next; block; block = next) {
		next = block->next;
		g_free(block);
	}
	g_free(arena);
}

/* A request that does not fit and is large gets a block of its own behind the current one, so that
 * the current one's rest is not lost. */
static Block *arena_add_block(Arena *arena, size_t size)
{
	size_t wanted = MAX(size, (size_t)BLOCK_SIZE);
	Block *block = g_malloc(sizeof(Block) + wanted);
	block->size = wanted;
	block->used = 0;
	if (size > BLOCK_SIZE / 2 && arena->blocks) {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
	} else {
		block->next = arena->blocks;
		arena->blocks = block;
	}
	return block;
}

void *arena_alloc(Arena *arena, size_t size)
{
	if (size > G_MAXSIZE - BLOCK_SIZE)
		g_error("Arena request of %zu bytes", size);
	size = (MAX(size, (size_t)1) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	Block *block = arena->blocks;
	if (!block || block->size - block->used < size)
		block = arena_add_block(arena, size);
	void *memory = block->data + block->used;
	block->used += size;
	return memset(memory, 0, size);
}

char *arena_strdup(Arena *arena, const char *text)
{
	return text ? arena_memdup(arena, text, strlen(text) + 1) : NULL;
}

char *arena_strndup(Arena *arena, const char *text, size_t length)
{
	if (!text)
		return NULL;
	length = strnlen(text, length);
	char *copy = arena_alloc(arena, length + 1);
	memcpy(copy, text, length);
	return copy;
}

void *arena_memdup(Arena *arena, const void *data, size_t size)
{
	void *copy = arena_alloc(arena, size);
	if (size)
		memcpy(copy, data, size);
	return copy;
}

char *arena_printf(Arena *arena, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char buffer[256];
	va_list again;
	va_copy(again, args);
	int length = vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	char *text = arena_alloc(arena, (size_t)MAX(length, 0) + 1);
	if (length >= (int)sizeof(buffer))
		vsnprintf(text, (size_t)length + 1, format, again);
	else if (length > 0)
		memcpy(text, buffer, (size_t)length);
	va_end(again);
	return text;
}

ProtobufCAllocator *arena_allocator(Arena *arena)
{
	return &arena->allocator;
}

void arena_defer(Arena *arena, GDestroyNotify destroy, void *data)
{
	Deferred *deferred = arena_alloc(arena, sizeof(Deferred));
	*deferred = (Deferred){.next = arena->deferred, .destroy = destroy, .data = data};
	arena->deferred = deferred;
}

void *arena_message_copy(Arena *arena, const void *message)
{
	const ProtobufCMessage *from = message;
	g_autofree uint8_t *bytes = g_malloc(protobuf_c_message_get_packed_size(from) + 1);
	size_t length = protobuf_c_message_pack(from, bytes);
	return protobuf_c_message_unpack(from->descriptor, arena_allocator(arena), length, bytes);
}

char **arena_strv(Arena *arena, size_t n, char *const *items)
{
	char **list = arena_alloc(arena, (n + 1) * sizeof(char *));
	for (size_t i = 0; i < n; i++)
		list[i] = items[i];
	return list;
}
