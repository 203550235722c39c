/* YAML documents: what parses can be written, and parses again as the same tree. */
#include "tests/fuzz/fuzz.h"
#include "sdk/base/yaml.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(Error) err = NULL;
	g_autofree char *text = NULL;
	json_t *first = NULL, *second = NULL;

	if (yaml_parse((const char *)data, size, &first, &err) < 0)
		return 0;
	text = yaml_write(first);
	if (text &&
	    (yaml_parse(text, strlen(text), &second, &err) < 0 || !json_equal(first, second)))
		abort();
	json_decref(first);
	json_decref(second);
	return 0;
}
