#pragma once
/* What libFuzzer, or driver.c in its place, calls. */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
