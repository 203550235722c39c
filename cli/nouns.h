#pragma once
/*
 * The nouns that more than one family of commands uses.
 */
#include "cli/noun.h"

extern const Noun instance_noun, profile_noun, project_noun, network_noun, storage_noun,
    server_noun;
