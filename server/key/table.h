#pragma once
/* The rows of every scope, in files of their own; only key.c and reference.c look here. */
#include "server/key/key.h"

extern const Key key_rows_server[], key_rows_member[], key_rows_instance[], key_rows_project[], key_rows_pool[],
    key_rows_volume[], key_rows_bucket[], key_rows_network[], key_rows_acl[], key_rows_forward[],
    key_rows_load_balancer[], key_rows_peer[], key_rows_zone[], key_rows_zone_record[], key_rows_device[];
