/* SPDX-License-Identifier: MIT */
/* Two peers, driven by one thread in turn: a method that answers in capitals, and a raw stream that comes back as it went. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <skep/p2p.h>

enum { SECOND_US = 1000000 };

static void capitals(void *user_data, skep_request *request)
{
    skep_view in = skep_request_data(request);
    char *out = malloc(in.len + 1);

    (void)user_data;
    if (!out) {
        skep_request_fail(request, "MemoryError()");
        return;
    }
    for (size_t i = 0; i < in.len; i++)
        out[i] = (char)toupper(((const unsigned char *)in.data)[i]);
    skep_request_reply(request, (skep_view){out, in.len});
    free(out);
}

/* The serving end of the stream: what comes goes back, and the end as well. */
static void echo_data(void *user_data, skep_raw_stream *stream, skep_view data)
{
    (void)user_data;
    skep_raw_stream_write(stream, data);
}

static void echo_end(void *user_data, skep_raw_stream *stream)
{
    (void)user_data;
    skep_raw_stream_end(stream);
}

static void echo_close(void *user_data, skep_raw_stream *stream, int rc)
{
    (void)user_data;
    (void)rc;
    skep_raw_stream_free(stream);
}

static void on_echo(void *user_data, skep_raw_stream *stream)
{
    const skep_raw_stream_events events = {
        .on_data = echo_data, .on_end = echo_end, .on_close = echo_close};

    skep_raw_stream_use(stream, &events, user_data);
}

/* The calling end. */
struct heard {
    char text[64];
    size_t len;
    int closed; /* 1: it has */
    int rc;
};

static void heard_data(void *user_data, skep_raw_stream *stream, skep_view data)
{
    struct heard *heard = user_data;
    size_t room = sizeof heard->text - 1 - heard->len;
    size_t n = data.len < room ? data.len : room;

    (void)stream;
    memcpy(heard->text + heard->len, data.data, n);
    heard->len += n;
}

static void heard_close(void *user_data, skep_raw_stream *stream, int rc)
{
    struct heard *heard = user_data;

    (void)stream;
    heard->closed = 1;
    heard->rc = rc;
}

/* Both nodes belong to this thread: let each have a look. */
static void turn(skep_node *a, skep_node *b)
{
    skep_node_run(a, 1000);
    skep_node_run(b, 1000);
}

static int call(skep_node *a, skep_node *b, const skep_peer *peer)
{
    const char *text = "hello from a peer";
    skep_op *op;
    int rc = skep_p2p_call(&op, a, peer, "Example.capitals", (skep_view){text, strlen(text)},
                           SECOND_US, NULL, NULL);

    if (rc < 0)
        return rc;
    while ((rc = skep_op_poll(op)) == 1)
        turn(a, b);
    if (rc == 0) {
        skep_view answer = skep_p2p_call_result(op);

        printf("call: %.*s\n", (int)answer.len, (const char *)answer.data);
    }
    skep_op_free(op);
    return rc;
}

static int echo(skep_node *a, skep_node *b, const skep_peer *peer)
{
    const skep_raw_stream_events events = {.on_data = heard_data, .on_close = heard_close};
    const char *text = "and back again";
    struct heard heard = {0};
    skep_raw_stream *stream;
    int rc = skep_p2p_open(&stream, a, peer, "/example/echo/1.0.0", &events, &heard);

    if (rc < 0)
        return rc;
    skep_raw_stream_write(stream, (skep_view){text, strlen(text)});
    skep_raw_stream_end(stream);
    while (!heard.closed)
        turn(a, b);
    printf("stream: %s\n", heard.text);
    skep_raw_stream_free(stream);
    return heard.rc < 0 ? heard.rc : strcmp(heard.text, text) == 0 ? 0 : SKEP_EVALUE;
}

static int run(skep_node *a, skep_node *b)
{
    char **addresses = skep_p2p_addresses(b, NULL);
    skep_peer peer;
    skep_op *op;
    int rc;

    skep_node_peer(b, &peer);
    if ((rc = skep_p2p_serve(b, "Example.capitals", capitals, NULL)) < 0 ||
        (rc = skep_p2p_serve_protocol(b, "/example/echo/1.0.0", on_echo, NULL)) < 0)
        goto out;
    if ((rc = skep_p2p_connect(&op, a, addresses && addresses[0] ? addresses[0] : "", 0, NULL,
                               NULL)) < 0)
        goto out;
    while ((rc = skep_op_poll(op)) == 1)
        turn(a, b);
    skep_op_free(op);
    if (rc == 0 && (rc = call(a, b, &peer)) == 0)
        rc = echo(a, b, &peer);
out:
    skep_free(addresses);
    return rc;
}

int main(void)
{
    const char *listen = "/ip4/127.0.0.1/tcp/0";
    skep_node_options options;
    skep_node *a = NULL, *b = NULL;
    int rc;

    skep_node_options_init(&options);
    options.caller_driven = true;
    options.no_dht = true;
    rc = skep_node_new(&a, &options);
    options.listen = &listen;
    options.listen_count = 1;
    if (rc == 0)
        rc = skep_node_new(&b, &options);
    if (rc == 0)
        rc = run(a, b);
    if (rc < 0)
        fprintf(stderr, "p2p_echo: %s %s\n", skep_strerror(rc), skep_last_error_text());
    skep_node_free(a);
    skep_node_free(b);
    return rc < 0;
}
