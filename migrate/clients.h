#pragma once
/*
 * Users' client configuration: ~/.config/lxc (or the snap's) becomes ~/.config/incus, where there
 * is none yet. Everything in a home is done with the rights of its user: what they put there leads
 * nowhere else.
 */
#include "migrate/journal.h"

/* What was left out, and why, is logged; a home that cannot be read stops nobody. */
int clients_convert(Journal *journal, Error **err);
int clients_undo(const json_t *line, Error **err);
