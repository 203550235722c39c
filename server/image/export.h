#pragma once
/* Sends the files of an image to a client: one file, or the two parts of a split image. */
#include "server/image/image.h"
#include "server/rpc/request.h"
#include "server/rpc/stream.h"

int image_export(Request *rq, const Pb__Image *image, Stream *stream, Error **err);
