// A Node client (@grpc/grpc-js) that reads the .proto files as any other program would.
// usage: node_client.js SOCKET FOLDER-OF-API-PROTOS
"use strict";
const assert = require("assert");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [socket, api] = process.argv.slice(2);
const files = ["server", "profile", "instance", "operation", "event"].map((noun) => `incus/v1/${noun}.proto`);
const definition = loader.loadSync(files, { includeDirs: [api, "/usr/include"], keepCase: true, longs: Number, defaults: true });
const v1 = grpc.loadPackageDefinition(definition).incus.v1;

function service(name) {
	const client = new v1[name](`unix:${socket}`, grpc.credentials.createInsecure());
	const call = (method, request) =>
		new Promise((resolve, reject) => {
			const deadline = new Date(Date.now() + 30000);
			client[method](request, { deadline }, (error, reply) => (error ? reject(error) : resolve(reply)));
		});
	return { client, call };
}

async function refused(code, promise) {
	const error = await promise.then(() => assert.fail("was not refused"), (e) => e);
	assert.strictEqual(error.code, code, error.message);
}

async function main() {
	const server = service("ServerService"), profiles = service("ProfileService");
	const instances = service("InstanceService"), operations = service("OperationService");
	const events = service("EventService");

	const info = await server.call("GetServer", {});
	assert.strictEqual(info.auth, "trusted");
	const seen = new Promise((resolve, reject) => {
		const stream = events.client.GetEvents({ type: "lifecycle", all_projects: true });
		stream.on("data", (event) => {
			if (JSON.parse(event.metadata).action === "profile-created") {
				stream.cancel();
				resolve(event);
			}
		});
		stream.on("error", (error) => error.code === grpc.status.CANCELLED || reject(error));
		stream.on("metadata", () => {});
	});
	let made = 0, done = false;
	seen.then(() => (done = true));
	// The stream has no first message: profiles are made until one is seen.
	while (!done && made < 50) {
		await profiles.call("CreateProfile", { profile: { name: `node${made++}`, config: { "user.x": "y" } } });
		await new Promise((resolve) => setImmediate(resolve));
	}
	assert.strictEqual((await seen).type, "lifecycle");
	const list = (await profiles.call("GetProfiles", {})).items;
	assert.strictEqual(list.find((p) => p.name === "node0").config["user.x"], "y");
	for (let i = 0; i < made; i++) await profiles.call("DeleteProfile", { name: `node${i}` });
	await refused(grpc.status.NOT_FOUND, profiles.call("GetProfile", { name: "node0" }));

	const operation = await instances.call("CreateInstance", { instance: { name: "node1", source: { type: "none" } } });
	const states = [];
	for await (const state of operations.client.WatchOperation({ id: operation.id })) states.push(state.status);
	assert.strictEqual(states.pop(), "Success");
	assert.ok((await instances.call("GetInstances", {})).items.some((i) => i.name === "node1"));
	const gone = await instances.call("DeleteInstance", { name: "node1" });
	assert.strictEqual((await operations.call("GetOperationWait", { id: gone.id })).status, "Success");
	console.log("node: ok");
	process.exit(0);
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
