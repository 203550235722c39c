/* Heads of WebSocket frames: what is taken is written again byte for byte, and never reaches too
 * far. */
#include "tests/fuzz/fuzz.h"
#include "server/rpc/websocket_frame.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[WEBSOCKET_HEAD_MAX];
	WebsocketHead head = { 0 };
	for (size_t have = 0; have <= size; have++) {
		size_t needed = websocket_head_size(data, have);
		if (needed > sizeof(again))
			abort();
		if (needed > have)
			continue;
		if (websocket_head_read(data, &head) &&
		    (websocket_head_write(&head, again) != needed || memcmp(again, data, needed)))
			abort();
		break;
	}
	return 0;
}
