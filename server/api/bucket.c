/* Handlers of BucketService. No pool serves buckets yet: each says so, whatever is asked. */
#include "incus/v1/handlers.h"

static int refuse(Error **err)
{
	return error_set(
	    err, ERROR_UNSUPPORTED, "Storage buckets are not available in this version");
}

int api_get_storage_pool_buckets(Request *rq, const Pb__GetStoragePoolBucketsRequest *in,
    Pb__GetStoragePoolBucketsResponse *out, Error **err)
{
	return refuse(err);
}

int api_get_storage_pool_bucket(
    Request *rq, const Pb__GetStoragePoolBucketRequest *in, Pb__StorageBucket *out, Error **err)
{
	return refuse(err);
}

int api_create_storage_pool_bucket(Request *rq, const Pb__CreateStoragePoolBucketRequest *in,
    Pb__StorageBucketKey *out, Error **err)
{
	return refuse(err);
}

int api_update_storage_pool_bucket(Request *rq, const Pb__UpdateStoragePoolBucketRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return refuse(err);
}

int api_patch_storage_pool_bucket(Request *rq, const Pb__PatchStoragePoolBucketRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return refuse(err);
}

int api_delete_storage_pool_bucket(Request *rq, const Pb__DeleteStoragePoolBucketRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return refuse(err);
}

int api_get_storage_pool_bucket_keys(Request *rq, const Pb__GetStoragePoolBucketKeysRequest *in,
    Pb__GetStoragePoolBucketKeysResponse *out, Error **err)
{
	return refuse(err);
}

int api_get_storage_pool_bucket_key(Request *rq, const Pb__GetStoragePoolBucketKeyRequest *in,
    Pb__StorageBucketKey *out, Error **err)
{
	return refuse(err);
}

int api_create_storage_pool_bucket_key(Request *rq, const Pb__CreateStoragePoolBucketKeyRequest *in,
    Pb__StorageBucketKey *out, Error **err)
{
	return refuse(err);
}

int api_update_storage_pool_bucket_key(Request *rq, const Pb__UpdateStoragePoolBucketKeyRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return refuse(err);
}

int api_delete_storage_pool_bucket_key(Request *rq, const Pb__DeleteStoragePoolBucketKeyRequest *in,
    Google__Protobuf__Empty *out, Error **err)
{
	return refuse(err);
}
