/* SPDX-License-Identifier: MIT */
/* libp2p ping: 32 bytes there, the same 32 bytes back, until FIN. Spec: libp2p ping; docs/wire.md a.6.
 *
 * The serving side echoes whatever comes: who sends other than multiples of 32 gets other than multiples of 32. What it holds of
 * echoes that are not read is bounded, and so are the streams. */
#include "host/host_impl.h"

/* ---- served ---- */

static void on_echo_data(struct skep_stream *stream, void *peer, skep_bytes data)
{
    if (skep_stream_queued(stream) > SKEP_STREAM_LOW_WATER || skep_stream_write(stream, data) < 0) {
        skep_stream_service_end(peer);
        skep_stream_reset(stream); /* it asks without reading our answers */
        return;
    }
    skep_stream_consume(stream, data.len);
}

static void on_echo_eof(struct skep_stream *stream, void *user)
{
    (void)user;
    skep_stream_close_write(stream);
}

static void on_echo_close(struct skep_stream *stream, void *peer, int rc)
{
    (void)stream;
    (void)rc;
    skep_stream_service_end(peer);
}

static const struct skep_stream_events echo_events = {
    .on_data = on_echo_data, .on_eof = on_echo_eof, .on_close = on_echo_close};

static void on_stream(void *user, struct skep_stream *stream)
{
    (void)user;
    if (skep_stream_service_begin(stream))
        skep_stream_use(stream, &echo_events, stream->peer);
    else
        skep_stream_reset(stream);
}

int skep_ping_serve(struct skep_host *host)
{
    return skep_host_serve(host, SKEP_PROTO_PING, on_stream, NULL);
}

/* ---- asked ---- */

static void end(struct skep_request_state *state, int rc)
{
    struct skep_stream *stream = state->stream;

    state->stream = NULL;
    if (rc == 0)
        skep_stream_release(stream);
    else if (stream)
        skep_stream_reset(stream);
    skep_request_finish(state, rc);
}

static void on_data(struct skep_stream *stream, void *user, skep_bytes data)
{
    struct skep_request_state *state = user;

    if (data.len > sizeof state->payload - state->echoed ||
        memcmp(data.data, state->payload + state->echoed, data.len) != 0) {
        end(state, SKEP_EPEER_PROTO);
        return;
    }
    state->echoed += data.len;
    skep_stream_consume(stream, data.len);
    if (state->echoed < sizeof state->payload)
        return;
    state->request->rtt_us = skep_env_now_us(state->host->env) - state->sent_us;
    end(state, 0);
}

static void on_eof(struct skep_stream *stream, void *user)
{
    (void)stream;
    end(user, SKEP_EPEER_RESET);
}

static void on_close(struct skep_stream *stream, void *user, int rc)
{
    struct skep_request_state *state = user;

    (void)stream;
    state->stream = NULL; /* it is gone */
    skep_request_finish(state, rc == 0 ? SKEP_EPEER_RESET : rc);
}

static const struct skep_stream_events ping_events = {
    .on_data = on_data, .on_eof = on_eof, .on_close = on_close};

void skep_ping_start(struct skep_request_state *state)
{
    struct skep_host *host = state->host;
    struct skep_host_peer *peer = skep_host_peer_find(host, &state->request->peer);
    int rc = host->env->entropy(host->env, state->payload, sizeof state->payload);

    if (rc == 0)
        rc = skep_stream_open(host, &state->stream, peer, NULL, SKEP_PROTO_PING, true, &ping_events,
                              state);
    if (rc == 0) {
        state->sent_us = skep_env_now_us(host->env);
        rc = skep_stream_write(state->stream, skep_bytes_of(state->payload, sizeof state->payload));
    }
    if (rc < 0)
        skep_request_settle(state, rc);
}
