#!/usr/bin/python3
"""A gRPC client that knows nothing of Incus but what server reflection tells.
usage: python_client.py SOCKET PORT CERTIFICATE KEY SERVER_CERTIFICATE"""
import copy
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

socket_path, port, certificate, key, server_certificate = sys.argv[1:6]


def reflection_messages(version):
    """The part of grpc.reflection that is used here, described by hand: Debian packages no stubs of it."""
    file = descriptor_pb2.FileDescriptorProto(name="r.proto", package=version, syntax="proto3")
    text, raw, msg = 9, 12, 11

    def message(name, *fields, oneof=None):
        m = file.message_type.add(name=name)
        if oneof:
            m.oneof_decl.add(name=oneof)
        for field, number, kind, repeated, of in fields:
            f = m.field.add(name=field, number=number, type=kind, label=3 if repeated else 1)
            if oneof:  # what makes an empty text travel
                f.oneof_index = 0
            if of:
                f.type_name = ".%s.%s" % (version, of)

    message("Request", ("file_containing_symbol", 4, text, 0, ""), ("list_services", 7, text, 0, ""),
            oneof="message_request")
    message("Files", ("file_descriptor_proto", 1, raw, 1, ""))
    message("Service", ("name", 1, text, 0, ""))
    message("Services", ("service", 1, msg, 1, "Service"))
    message("Problem", ("error_code", 1, 5, 0, ""), ("error_message", 2, text, 0, ""))
    message("Response", ("file_descriptor_response", 4, msg, 0, "Files"),
            ("list_services_response", 6, msg, 0, "Services"), ("error_response", 7, msg, 0, "Problem"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    make = message_factory.MessageFactory(pool).GetPrototype
    return [make(pool.FindMessageTypeByName("%s.%s" % (version, n))) for n in ("Request", "Response")]


class Api:
    """Calls by name, from what the server says of itself."""

    def __init__(self, channel, version):
        self.channel = channel
        request, response = reflection_messages(version)
        method = channel.stream_stream("/%s.ServerReflection/ServerReflectionInfo" % version,
                                       request_serializer=request.SerializeToString,
                                       response_deserializer=response.FromString)

        def answer(**question):
            return next(method(iter([request(**question)])))

        def ask(**question):
            reply = answer(**question)
            assert not reply.error_response.error_code, reply
            return reply

        assert answer().error_response.error_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
        assert answer(file_containing_symbol="no.such").error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]

        services = [s.name for s in ask(list_services="").list_services_response.service]
        self.pool = descriptor_pool.DescriptorPool()
        files = {}
        for name in services:
            if name.startswith("incus."):
                for raw in ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto:
                    file = descriptor_pb2.FileDescriptorProto.FromString(raw)
                    files[file.name] = file
        self.add_all(files)
        self.make = message_factory.MessageFactory(self.pool).GetPrototype
        self.methods = {}
        for name in services:
            if name.startswith("incus."):
                for m in self.pool.FindServiceByName(name).methods:
                    self.methods[m.name] = ("/%s/%s" % (name, m.name), m)

    def add_all(self, files):
        done = set()

        def add(name):
            if name in done:
                return
            done.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            self.pool.Add(files[name])

        for name in files:
            add(name)

    def prepare(self, name, kind):
        path, m = self.methods[name]
        call = getattr(self.channel, kind)(path, request_serializer=self.make(m.input_type).SerializeToString,
                                           response_deserializer=self.make(m.output_type).FromString)
        return call, self.make(m.input_type)

    def call(self, name, /, **fields):
        call, request = self.prepare(name, "unary_unary")
        return call(json_format.ParseDict(fields, request()), timeout=30)

    def stream(self, name, /, **fields):
        call, request = self.prepare(name, "unary_stream")
        return call(json_format.ParseDict(fields, request()), timeout=60)


def refused(status, function, /, *args, **fields):
    try:
        function(*args, **fields)
    except grpc.RpcError as problem:
        assert problem.code() == status, problem
        return problem
    raise AssertionError("was not refused")


def check_unix(api):
    assert len(api.methods) > 80, sorted(api.methods)
    server = api.call("GetServer")
    assert server.auth == "trusted" and server.api_version == "1.0" and server.environment.server == "incus"
    api.call("CreateProfile", profile={"name": "py", "description": "ü", "config": {"user.a": "1"},
                                       "devices": {"none0": {"config": {"type": "none"}}}})
    profile = api.call("GetProfile", name="py")
    assert profile.description == "ü" and profile.config["user.a"] == "1"
    assert profile.devices["none0"].config["type"] == "none"
    assert "py" in [p.name for p in api.call("GetProfiles").items]
    problem = refused(grpc.StatusCode.ALREADY_EXISTS, api.call, "CreateProfile", profile={"name": "py"})
    assert any(k == "grpc-status-details-bin" and b"EXISTS" in v for k, v in problem.trailing_metadata())
    refused(grpc.StatusCode.NOT_FOUND, api.call, "GetProfile", name="nobody")
    refused(grpc.StatusCode.INVALID_ARGUMENT, api.call, "UpdateProfile", name="py",
            profile={"config": {"no.such.key": "1"}})


def check_instance(api):
    """An empty instance, followed through its operation to the end."""
    operation = api.call("CreateInstance", instance={"name": "py1", "source": {"type": "none"}})
    *_, last = api.stream("WatchOperation", id=operation.id)
    assert last.status == "Success", last
    assert [i.status for i in api.call("GetInstances").items if i.name == "py1"] == ["Stopped"]
    operation = api.call("DeleteInstance", name="py1")
    assert api.call("GetOperationWait", id=operation.id).status == "Success"
    api.call("DeleteProfile", name="py")


def check_tls(local):
    """Untrusted at first, then trusted by certificate."""
    with open(certificate, "rb") as c, open(key, "rb") as k, open(server_certificate, "rb") as s:
        pem = c.read()
        credentials = grpc.ssl_channel_credentials(s.read(), k.read(), pem)
    with grpc.secure_channel("127.0.0.1:" + port, credentials) as channel:
        refused(grpc.StatusCode.PERMISSION_DENIED, Api, channel, "grpc.reflection.v1alpha")
        stranger = copy.copy(local)  # what was learnt over the socket, called over TLS
        stranger.channel = channel
        assert stranger.call("GetServer").auth == "untrusted"
        refused(grpc.StatusCode.PERMISSION_DENIED, stranger.call, "GetInstances")
        der = "".join(pem.decode().split("-----")[2].split())
        local.call("CreateCertificate", certificate={"name": "py", "type": "client", "certificate": der})
        api = Api(channel, "grpc.reflection.v1alpha")
        assert api.call("GetServer").auth == "trusted"
        assert [p.name for p in api.call("GetProjects").items] == ["default"]


with grpc.insecure_channel("unix:" + socket_path) as unix:
    v1 = Api(unix, "grpc.reflection.v1")
    check_unix(v1)
    check_instance(v1)
    check_tls(v1)
print("python: ok")
