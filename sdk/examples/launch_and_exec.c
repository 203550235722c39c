/*
 * Makes an instance from a local image, starts it, runs a command in it and passes on its output
 * and exit code:   launch_and_exec IMAGE-ALIAS NAME COMMAND [ARGUMENT...] INCUS_PROJECT chooses the
 * project. The instance stays.
 */
#include <incus/operation.h>
#include <incus/v1/calls.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fail(const char *what, incus_error *error)
{
	fprintf(stderr, "%s: %s (%s)\n", what, error->message, error->name);
	incus_error_free(error);
	return 1;
}

/* Waits for what a call has begun. */
static int finish(incus_client *client, incus_operation *operation, incus_error **err)
{
	int result = incus_operation_wait(client, operation, NULL, NULL, NULL, err);
	incus_operation_free(operation);
	return result;
}

static int launch(incus_client *client, char *alias, char *name, incus_error **err)
{
	incus_instance_source source = INCUS_INSTANCE_SOURCE_INIT;
	incus_instances_post instance = INCUS_INSTANCES_POST_INIT;
	incus_create_instance_request create = INCUS_CREATE_INSTANCE_REQUEST_INIT;
	incus_operation *operation = NULL;
	source.type = "image";
	source.alias = alias;
	instance.name = name;
	instance.source = &source;
	create.instance = &instance;
	if (incus_create_instance(client, &create, &operation, err) < 0 ||
	    finish(client, operation, err) < 0)
		return -1;

	incus_instance_state_put state = INCUS_INSTANCE_STATE_PUT_INIT;
	incus_update_instance_state_request start = INCUS_UPDATE_INSTANCE_STATE_REQUEST_INIT;
	state.action = "start";
	start.name = name;
	start.state = &state;
	if (incus_update_instance_state(client, &start, &operation, err) < 0)
		return -1;
	return finish(client, operation, err);
}

static int run(incus_client *client, char *name, char **command, size_t n_command, int *ret_code,
    incus_error **err)
{
	incus_instance_exec_post exec = INCUS_INSTANCE_EXEC_POST_INIT;
	incus_exec_instance_request request = INCUS_EXEC_INSTANCE_REQUEST_INIT;
	incus_exec_instance_input first = INCUS_EXEC_INSTANCE_INPUT_INIT,
				  eof = INCUS_EXEC_INSTANCE_INPUT_INIT;
	incus_exec_instance_output *output = NULL;
	incus_stream *stream = NULL;
	exec.command = command;
	exec.n_command = n_command;
	request.name = name;
	request.exec = &exec;
	first.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_START;
	first.start = &request;
	eof.message_case = PB__EXEC_INSTANCE_INPUT__MESSAGE_INPUT_EOF;
	eof.input_eof = 1;
	if (incus_exec_instance(client, &first, &stream, err) < 0)
		return -1;
	incus_exec_instance_send(stream, &eof, NULL);
	int got;
	while ((got = incus_exec_instance_recv(stream, -1, &output, err)) > 0) {
		switch (output->message_case) {
		case PB__EXEC_INSTANCE_OUTPUT__MESSAGE_OUTPUT:
			fwrite(output->output.data, 1, output->output.len, stdout);
			break;
		case PB__EXEC_INSTANCE_OUTPUT__MESSAGE_ERROR:
			fwrite(output->error.data, 1, output->error.len, stderr);
			break;
		case PB__EXEC_INSTANCE_OUTPUT__MESSAGE_EXIT_CODE:
			*ret_code = output->exit_code;
			break;
		default:
			break;
		}
		incus_exec_instance_output_free(output);
	}
	incus_stream_free(stream);
	return got;
}

int main(int argc, char **argv)
{
	incus_client *client = NULL;
	incus_error *error = NULL;
	int code = 0;
	if (argc < 4) {
		fprintf(stderr, "Usage: %s IMAGE-ALIAS NAME COMMAND [ARGUMENT...]\n", argv[0]);
		return 2;
	}
	if (incus_connect_unix(NULL, &client, &error) < 0)
		return fail("Cannot connect", error);
	incus_client_set_project(client, getenv("INCUS_PROJECT"));
	if (launch(client, argv[1], argv[2], &error) < 0)
		code = fail("Cannot launch", error);
	else if (run(client, argv[2], argv + 3, argc - 3, &code, &error) < 0)
		code = fail("Cannot run the command", error);
	incus_client_free(client);
	return code;
}
