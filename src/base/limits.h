/* SPDX-License-Identifier: MIT */
/* Every bound on what a peer can make grow, in one place. Each has a test one past it and a row in docs/limits.md.
 * Those that are options of a node or host are the defaults here. */
#ifndef SKEP_BASE_LIMITS_H
#define SKEP_BASE_LIMITS_H

#define SKEP_KIB(n) ((size_t)(n) << 10)
#define SKEP_MIB(n) ((size_t)(n) << 20)

enum {
    /* text */
    SKEP_PEER_TEXT_MAX = 256, /* bytes of a peer's text that reach a log or a terminal */

    /* msgpack */
    SKEP_MSGPACK_DEPTH_MAX = 32, /* counted through nested extensions */

    /* multistream-select */
    SKEP_NEGOTIATE_TOKEN_MAX = 1024,      /* bytes of one token, newline included */
    SKEP_NEGOTIATE_PROPOSALS_MAX = 64,    /* proposals we answer on one stream */
    SKEP_NEGOTIATE_TIMEOUT_US = 10000000, /* of a stream */

    /* secure */
    SKEP_NOISE_PAYLOAD_MAX =
        4096 + 2048, /* handshake payload: an RSA-8192 key, its signature, extensions */
    SKEP_HANDSHAKE_TIMEOUT_US = 10000000, /* from accepted or connected to muxed */
    SKEP_RSA_BITS_MIN = 2048,
    SKEP_RSA_BITS_MAX = 8192,
    SKEP_PUBLIC_KEY_MESSAGE_MAX = 2048, /* bytes of a peer's PublicKey message */
    SKEP_KEY_TEXT_MAX =
        64 << 10, /* bytes of an RSA key as DER, PEM or the text that owns a record */
    SKEP_IDENTITY_FILE_MAX = 16 << 10, /* bytes of a node's own key file */

    /* yamux */
    SKEP_YAMUX_WINDOW = 256 << 10,    /* at the start of each stream, by specification */
    SKEP_YAMUX_WINDOW_MAX = 16 << 20, /* what we grow ours to, and hold of theirs */
    SKEP_YAMUX_STREAMS_MAX = 4096,    /* live streams of one connection, both sides' */
    SKEP_YAMUX_BACKLOG_MAX = 256,     /* inbound streams still negotiating; the rest are reset */
    SKEP_YAMUX_OPENING_MAX = 256,     /* outbound streams not yet acknowledged */
    SKEP_YAMUX_PINGS_MAX = 16,        /* unsent answers to pings; older ones are dropped */
    SKEP_YAMUX_SESSION_WINDOW_MAX = 64
                                    << 20, /* sum of a session's windows above which none grows */
    SKEP_YAMUX_FRAME_DATA_MAX =
        65507, /* of a frame we send: with its header it fills one Noise message */
    SKEP_YAMUX_QUEUED_MAX =
        64 << 20, /* unsent bytes of one connection above which inbound streams are refused */
    SKEP_HOST_QUEUED_MAX =
        256
        << 20, /* of all connections of a host, above which those with more than a window unsent open none */
    SKEP_YAMUX_REFUSALS_MAX =
        32, /* runs of refused streams whose resets are unsent; further resets are dropped */
    SKEP_YAMUX_LATE_FIN_US =
        5000, /* a FIN that nobody waits for goes with other frames until then */
    SKEP_YAMUX_KEEPALIVE_US = 30000000,
    SKEP_YAMUX_PING_TIMEOUT_US = 10000000,

    /* host */
    SKEP_CONNECTIONS_MAX = 4096,
    SKEP_FILES_SPARED = 32, /* file descriptors that connections leave to everything else */
    SKEP_CONNECTIONS_PER_ADDRESS_MAX = 256, /* per remote IP address (IPv6: per /64) */
    SKEP_HANDSHAKES_MAX = 256,              /* accepted connections not yet muxed */
    SKEP_CONNECTION_IDLE_US = 600000000,    /* no stream for so long: closed */
    SKEP_CONNECTION_SPARED_US = 30000000,   /* idle for less than this: not closed to make room */
    SKEP_DIAL_TIMEOUT_US = 5000000,
    SKEP_ADDRESSES_PER_PEER_MAX = 32,
    SKEP_ADDRESS_BOOK_PEERS_MAX = 65536,
    SKEP_ADDRESS_BOOK_BYTES_PER_PEER =
        512, /* on average: six addresses of the usual kind are 300 */
    SKEP_IDENTIFY_MESSAGE_MAX = 8 << 10,
    SKEP_IDENTIFY_MESSAGES_MAX = 10,
    SKEP_IDENTIFY_PROTOCOLS_MAX = 256,
    SKEP_KAD_MESSAGE_MAX = 64 << 10, /* FIND_NODE needs no more; larger ones end the stream */
    SKEP_KAD_PEERS_MAX = 20,         /* in one answer, the wanted one apart */
    SKEP_KAD_ASKED_MAX = 60,         /* peers asked in one lookup */
    SKEP_KAD_CANDIDATES_MAX = 128,   /* peers that one lookup remembers: the nearest */
    SKEP_KAD_IDLE_US = 60000000,     /* an inbound kad stream without requests is reset */
    SKEP_SERVICE_STREAMS_MAX =
        16, /* inbound kad, identify push and ping streams of one peer: each may hold a message */
    SKEP_DIAL_ADDRESSES_MAX = 16, /* tried in one dial */
    SKEP_HINTS_MAX = 4096,        /* who named whom to us; the oldest is forgotten */

    /* calls */
    SKEP_UNARY_MESSAGE_MAX = 4 << 20,
    SKEP_CALLS_PER_PEER_MAX = 256,    /* outbound in flight to one peer; the rest wait in line */
    SKEP_CALLS_QUEUED_MAX = 8192,     /* waiting in line to one peer; the rest fail */
    SKEP_HANDLERS_PER_PEER_MAX = 256, /* inbound in progress from one peer; the rest are reset */
    SKEP_ERROR_TEXT_MAX = 4096,       /* bytes of a remote error that we keep */
    SKEP_METHOD_LEN_MAX = 512,        /* bytes of a method's name */
    SKEP_STREAM_MESSAGE_MAX =
        8 << 20, /* one message of a streaming call; hivemind's parts are 4 MiB and a few bytes */
    SKEP_STREAM_UNCONSUMED_MAX =
        256 << 10, /* delivered but not used up; above it a stream gives no window back */
    SKEP_STREAMS_PER_PEER_MAX =
        256, /* inbound streaming calls in progress from one peer; the rest are reset */
    SKEP_RPC_IDLE_PEERS = 256, /* peers without a call whose bookkeeping is kept */
    SKEP_RPC_SPARE_MAX =
        512, /* ended calls, and ended requests, whose memory is kept for the next */
    SKEP_REQUEST_BYTES_MAX =
        512
        << 20, /* of inbound requests held; above half of it a peer's share is at most a quarter */
    SKEP_REQUEST_TIMEOUT_US =
        30000000, /* an inbound request that makes no progress for so long is dropped */

    /* DHT */
    SKEP_DHT_KEYS_PER_REQUEST_MAX = 65536,
    SKEP_DHT_DICTIONARY_ENTRIES_MAX = 65536,
    SKEP_DHT_DICTIONARY_BYTES_MAX = 3 << 20,
    SKEP_DHT_TTL_MAX_S = 7 * 24 * 3600,
    SKEP_DHT_STORE_REQUEST_BYTES = 1 << 20, /* what we put into one rpc_store */
    SKEP_DHT_PUSH_INTERVAL_US =
        60000000,             /* stored items go to a new node at most so often a peer */
    SKEP_DHT_PUSHES_MAX = 64, /* new nodes being sent records at once; further ones are sent none */
    SKEP_DHT_BLACKLIST_MAX = 4096,
    SKEP_DHT_REPLACEMENTS_MAX = 20, /* per bucket */
    SKEP_DHT_FIND_KEYS_MAX = 4096,  /* keys of one rpc_find; hivemind asks for 16 */
    SKEP_DHT_PINGS_MAX =
        64, /* pings of ours in flight to verify nodes that sent requests, or that a full bucket asks about */
    SKEP_DHT_VERIFY_INTERVAL_US = 10000000, /* a newcomer is verified at most so often a peer */
    SKEP_DHT_VALIDATIONS_PER_PEER_MAX =
        8, /* of them for one sender, which may know us by several addresses */
    SKEP_DHT_VALIDATIONS_MAX =
        256, /* rpc_ping with validate being called back at once; the rest are told "not available" */
    SKEP_DHT_VALIDATED_A_TURN =
        64, /* records of one rpc_store that validators check before the loop goes on to others */
    SKEP_DHT_ONCE_PEERS_MAX = 4096,    /* peers remembered for the two intervals */
    SKEP_DHT_NEAREST_MAX = 64,         /* nodes of one result of a find that we look at */
    SKEP_DHT_LOOKUP_NODES_MAX = 16384, /* nodes that one lookup remembers */
    SKEP_DHT_LOOKUP_ASKS_MAX = 256,    /* nodes that one key of a lookup asks */
    SKEP_DHT_KEYS_MAX = 1 << 20,       /* keys of one get, records of one store */
    SKEP_DHT_BUCKET_SIZE_MAX = 64,
    SKEP_DHT_HEDGE_TOKENS_MAX = 10,     /* requests that may be hedged in a row */
    SKEP_DHT_ONE_HOP_NODES_MAX = 65536, /* nodes of a one-hop table … */
    SKEP_DHT_ONE_HOP_NODE_BYTES = 96,   /* … each of which takes at most so many bytes */
    SKEP_DHT_CRAWL_CALLS_MAX = 128,     /* calls in flight that keep it fresh … */
    SKEP_DHT_CRAWL_CALLS_PER_S = 100,   /* … and how many are started in a second */
    SKEP_DHT_CRAWL_TILES_MAX =
        2048, /* parts of the space of ids that one round remembers as left to do */

    /* searches */
    SKEP_SEARCHES_MAX = 1024, /* running at once on one node */
    SKEP_GRID_DIMENSIONS_MAX = 64,
    SKEP_GRID_SIZE_MAX = 1 << 20, /* indices of one dimension */
    SKEP_BEAM_SIZE_MAX = 65536,
    SKEP_BEAM_CACHE_BYTES = 64 << 20, /* decoded records that a searcher keeps */
    SKEP_BEAM_GET_KEYS_MAX = 16384,   /* prefixes asked for in one get */
    SKEP_BEAM_AHEAD_MAX = 1024,       /* first indices that one example asks for at once */
    SKEP_BEAM_GUESS_KEYS_MAX = 4096,  /* prefixes that one search asks for on a guess */
    SKEP_BEAM_LEFT_GETS_MAX =
        64, /* gets that go on after their search has ended; the oldest is cancelled */
    SKEP_BEAM_MARK_STORES_MAX =
        64, /* stores of negative marks under way; further marks are not written */
    SKEP_BEAM_HOME_WALK_MAX =
        4096, /* first indices looked at in the local cache once the deadline has passed */
    SKEP_BELIEVE_TRIES_MAX = 64, /* prefixes hashed to see which one a record's entries are of */
    SKEP_EXACT_KEYS_MAX = 65536, /* prefixes that one exact search asks for */
    SKEP_DECLARE_UIDS_MAX = 1 << 20, /* of one declaration */
    SKEP_UID_LEN_MAX = 4096,

    /* experts */
    SKEP_EXPERT_TENSORS_MAX =
        32, /* of one request or answer, and of what an expert says of itself */
    SKEP_EXPERT_BYTES_MAX = 256 << 20, /* numbers of one streamed request or answer */
    SKEP_EXPERT_INFO_MAX = 64 << 10,   /* bytes of what an expert says of itself */
    SKEP_EXPERT_MESSAGE_MAX =
        (4 << 20) +
        (64 << 10), /* one message of a streamed request: a part and what is said of it */
    SKEP_EXPERT_MEMORY_MIN =
        32 << 20, /* of a server's requests in progress: less would admit no stream */
    SKEP_EXPERT_STREAMS_WAITING_MAX =
        1024, /* streamed requests that wait for memory; further ones are refused */
    SKEP_EXPERT_STREAM_IDLE_US =
        60000000, /* a streamed request or answer that makes no progress for so long is dropped */
    SKEP_EXPERT_PROGRESS_BYTES = 64 << 10, /* so many bytes of a request are progress */
    SKEP_BATCH_SCRATCH_MAX =
        32
        << 20, /* bytes of the tasks that a batch puts together: a copy of what comes in and goes out */
    SKEP_WORKERS_MAX = 256,            /* threads for work off one loop */
    SKEP_HIDDEN_MAX = 1 << 16,         /* main dimension of skep's own classes */
    SKEP_SCRATCH_KEPT_MAX = 192 << 20, /* bytes that a worker keeps from one batch to the next */
    SKEP_SAFETENSORS_HEADER_MAX = 1 << 20, /* bytes */
    SKEP_SAFETENSORS_TENSORS_MAX =
        256, /* of one file; an expert's are at most three times its class's parameters */
    SKEP_SAFETENSORS_NOTES_MAX = 64, /* entries of a file's __metadata__ */
    SKEP_CHECKPOINTS_MAX = 16384,    /* in one folder */
    SKEP_UID_TRIES_MAX = 65536,      /* uids of a pattern proposed in search of free ones */
    SKEP_EXPERT_INFOS_MAX =
        4096, /* experts whose info a caller keeps; the least used is forgotten */
    SKEP_EXPERT_FAILING_MAX = 4096, /* experts remembered as failing; the oldest is forgotten */
    SKEP_EXPERT_BACKOFF_US =
        5000000, /* a failing expert is left alone for so long, twice as long each time … */
    SKEP_EXPERT_BACKOFF_MAX_US = 300000000, /* … up to this */
    SKEP_MIXTURE_OUTPUT_TIMES =
        16, /* a mixture's outputs may be so much longer than its inputs … */
    SKEP_MIXTURE_OUTPUT_BYTES = 64 << 20, /* … and so many bytes more */
};

#define SKEP_DHT_STORAGE_BYTES SKEP_MIB(256)
#define SKEP_DHT_CACHE_BYTES SKEP_MIB(256)
#define SKEP_CMD_INPUT_MAX SKEP_MIB(256) /* a file or stdin given to the command */

#endif
