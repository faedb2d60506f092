import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URLDecoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TransactionAbortedException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * Kafka's own Java producer in a process of its own: sends what it is told at the times it is told, and says what it saw.
 *
 * The other end is ksim.live.clients, where both languages are described. Whatever is needed but the producer itself is warmed before "ready";
 * the real KafkaProducer is constructed at time zero.
 */
public final class Client {
    private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);
    private static final LinkedBlockingQueue<Object> EVENTS = new LinkedBlockingQueue<>(50_000);
    private static final long SPIN_NANOS = 100_000; // parkNanos comes back some 60 us late.
    private static final Duration PATIENCE_AT_WARMING = Duration.ofSeconds(30);
    private static final int PRACTICES = 6; // The constructor is the slowest to become fast.
    private static final int RECORDS_OF_A_PRACTICE = 40;
    private static final long LONGEST_TURN_MS = 1000;
    private static final int MOST_ANNOUNCED = 100;
    private static final int WARM_UP_BYTES = 100;
    private static final int NO_KEY = -1;
    private static final int UNSERIALIZABLE_KEY = -2;
    private static final byte[] UNSERIALIZABLE = new byte[0];
    private static final long LAST_WORDS_MS = 200;

    private static final Map<Integer, Integer> CONTENT = new HashMap<>(); // Workload -> millionths of its bytes that no codec makes smaller.

    private final Map<String, Object> settings = new HashMap<>();
    private final List<Workload> workloads = new ArrayList<>();
    private final List<Object[]> warmUps = new ArrayList<>(); // (topic, partition)
    private int index; // Of this producer in the plan.
    private int first; // The number of its first record: an earlier process had those before.
    private int transactions; // So many an earlier process has begun.
    private final Set<String> holds = new HashSet<>(); // NUMBER:PHASE
    private final Reading.Habits reading = new Reading.Habits();
    private volatile Reading reader;
    private volatile Producing producing;

    public static void main(String[] arguments) {
        System.setOut(System.err); // Nothing but our own lines goes out.
        Thread teller = new Thread(Client::tellEvents, "events");
        teller.setDaemon(true);
        teller.start();
        try {
            new Client().listen(new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)));
        } catch (Throwable problem) {
            breakDown(problem);
        }
        Runtime.getRuntime().halt(1); // Whoever started this process is gone, and so is the reason for it.
    }

    private void listen(BufferedReader in) throws Exception {
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = Arrays.stream(line.split(" ")).map(word -> URLDecoder.decode(word, StandardCharsets.UTF_8)).toArray(String[]::new);
            switch (words[0]) {
                case "producer" -> index = Integer.parseInt(words[1]);
                case "setting" -> settings.put(words[1], words.length > 2 ? words[2] : "");
                case "workload" -> {
                    Reaction reaction = Reaction.of(workloads.size(), words[5]);
                    workloads.add(Workload.read(workloads.size(), words[1], Path.of(words[2]), numberOrNull(words[3]), numberOrNull(words[4]), reaction));
                }
                case "transaction" -> workloads.get(Integer.parseInt(words[1])).habits.set(Transactions.Habits.read(words));
                case "transactions" -> transactions = Integer.parseInt(words[1]);
                case "consumer-setting" -> reading.settings.put(words[1], words.length > 2 ? words[2] : "");
                case "reads" -> reading.topics.addAll(Arrays.asList(words).subList(1, words.length));
                case "works" -> {
                    reading.workNanos = Long.parseLong(words[1]) * 1000;
                    reading.commit = words[2];
                    reading.group = words[3].equals("-") ? null : words[3];
                }
                case "writes" -> {
                    reading.writes = words[1];
                    reading.commitEvery = Integer.parseInt(words[2]);
                    reading.size = Integer.parseInt(words[3]);
                    reading.groupMetadata = words[4].equals("true");
                    reading.leaderEpochs = words[5].equals("true");
                }
                case "hold" -> holds.add(words[1] + ":" + words[2]);
                case "proceed" -> Transactions.PROCEED.release();
                case "from" -> first = Integer.parseInt(words[1]);
                case "content" -> CONTENT.put(Integer.valueOf(words[1]), Integer.valueOf(words[2]));
                case "warm-up" -> warmUps.add(new Object[] {words[1], Integer.valueOf(words[2])});
                case "practise" -> practise(words[1], words[2]);
                case "ready" -> tell("{\"event\":\"ready\",\"at\":" + System.nanoTime() + ",\"version\":" + quoted(AppInfoParser.getVersion()) + "}");
                case "go" -> {
                    long zero = Long.parseLong(words[1]);
                    inBackground("go", () -> go(zero));
                }
                case "close" -> {
                    Duration patience = Duration.ofMillis(words[1].equals("-") ? Long.MAX_VALUE : Long.parseLong(words[1]));
                    inBackground("close", () -> close(patience));
                }
                default -> throw new IllegalArgumentException("no such command: " + words[0]);
            }
        }
    }

    private static Integer numberOrNull(String word) {
        return word.equals("-") ? null : Integer.valueOf(word);
    }

    // Before time zero.

    /** Throw-away producers, by the same code and not through the proxy: classes are loaded and compiled, and nothing of it is told. */
    private void practise(String bootstrap, String topic) throws Exception {
        Map<String, Object> own = new HashMap<>();
        settings.forEach((name, value) -> {
            if (name.equals("acks") || name.equals("enable.idempotence") || name.matches("(security|sasl|ssl)\\..*")) own.put(name, value);
        });
        own.put("bootstrap.servers", bootstrap);
        own.put("linger.ms", "0");
        own.put("max.block.ms", String.valueOf(PATIENCE_AT_WARMING.toMillis()));
        boolean transactional = settings.containsKey("transactional.id");
        int practices = reading.topics.isEmpty() || reading.writes != null ? PRACTICES : 0;
        for (int i = 0; i < practices; i++) {
            List<Workload> work = new ArrayList<>(List.of(Workload.ofPractice(0, topic), Workload.ofPractice(1, topic)));
            if (transactional) {
                own.put("transactional.id", topic + "-" + i);
                work.remove(1);
                work.get(0).habits.set(Transactions.Habits.ofPractice());
            }
            Producing practice = new Producing(new Producer(own), work, -1, 0);
            practice.run(System.nanoTime());
            practice.producer.close(PATIENCE_AT_WARMING);
            if (practice.problem != null && !(practice.problem instanceof TransactionAbortedException)) throw practice.problem;
        }
        if (!reading.topics.isEmpty()) Reading.practise(bootstrap, topic);
        System.gc(); // Rather now than in the middle.
    }

    // At time zero.

    private void go(long zero) throws Exception {
        if (!reading.topics.isEmpty()) {
            goReading(zero);
            return;
        }
        long construction = warmUps.isEmpty() ? zero : zero - 1_000_000_000L;
        waitUntil(construction);
        producing = new Producing(new Producer(settings), workloads, index, first);
        producing.transactions = transactions;
        producing.holds = holds;
        tell("{\"event\":\"constructed\",\"at\":" + System.nanoTime() + "}");
        if (!warmUps.isEmpty()) {
            for (Object[] place : warmUps) producing.producer.send(record((String) place[0], (Integer) place[1], null, "w", WARM_UP_BYTES), null);
            inBackground("warm-up", () -> {
                producing.producer.flush(); // They go at once.
                tell("{\"event\":\"warm\",\"at\":" + System.nanoTime() + "}");
            });
        }
        producing.run(zero);
    }

    /** A consumer, alone or in an application that writes too. */
    private void goReading(long zero) throws Exception {
        waitUntil(zero);
        if (reading.writes != null) {
            producing = new Producing(new Producer(settings), List.of(Reading.ofWhatIsMade(reading)), index, first);
            producing.transactions = transactions;
            producing.holds = holds;
        }
        reader = new Reading(reading, producing, settings.containsKey("transactional.id"));
        tell("{\"event\":\"constructed\",\"at\":" + System.nanoTime() + "}");
        reader.run();
    }

    /** As an application ends: no more records, and then whatever was sent has its outcome. */
    private void close(Duration patience) throws Exception {
        if (reader != null) reader.stop(patience.toMillis());
        if (producing != null) {
            producing.stop();
            producing.producer.close(patience);
            for (Thread thread : producing.threads) thread.join(LAST_WORDS_MS); // A send() that was waiting has just been told.
        }
        while (!EVENTS.isEmpty()) Thread.sleep(1);
        tell("{\"event\":\"closed\",\"at\":" + System.nanoTime() + "}");
        Runtime.getRuntime().halt(0);
    }

    static final class Producer extends KafkaProducer<byte[], byte[]> {
        final long maxBlockMs;

        Producer(Map<String, Object> settings) {
            super(settings, new ByteArraySerializer(), new Values());
            maxBlockMs = Long.parseLong((String) settings.getOrDefault("max.block.ms", "60000"));
        }
    }

    private static final class Values extends ByteArraySerializer {
        @Override
        public byte[] serialize(String topic, byte[] value) {
            if (value == UNSERIALIZABLE) throw new SerializationException("This record cannot be serialized.");
            return value;
        }
    }

    private static final class CircuitBreakerOpenException extends RuntimeException {
        CircuitBreakerOpenException() {
            super("The application's circuit breaker is open.");
        }
    }

    /** What the application does about a failed send; ksim_models.on_failure says the same of the simulated one. */
    static final class Reaction {
        final int workload;
        final boolean resends;
        final boolean stops;
        final int openAfter; // 0: there is no circuit breaker.
        final long halfOpenNanos;
        volatile boolean stopped;
        private String state = "closed";
        private int failures;
        private long until;
        private int trial = -1;

        private Reaction(int workload, boolean resends, boolean stops, int openAfter, long halfOpenNanos) {
            this.workload = workload;
            this.resends = resends;
            this.stops = stops;
            this.openAfter = openAfter;
            this.halfOpenNanos = halfOpenNanos;
        }

        /** "report", "resend", "stop", or "break:FAILURES:MICROSECONDS". */
        static Reaction of(int workload, String word) {
            String[] parts = word.split(":");
            boolean breaks = parts[0].equals("break");
            return new Reaction(
                workload, word.equals("resend"), word.equals("stop"), breaks ? Integer.parseInt(parts[1]) : 0, breaks ? Long.parseLong(parts[2]) * 1000 : 0);
        }

        synchronized boolean letsThrough(int number, Producing producing) {
            if (openAfter == 0 || state.equals("closed")) return true;
            if (state.equals("half-open") || System.nanoTime() < until) return false;
            trial = number;
            become("half-open", producing);
            return true;
        }

        synchronized void succeeded(int number, Producing producing) {
            if (openAfter == 0) return;
            if (state.equals("closed")) {
                failures = 0;
            } else if (number == trial) {
                failures = 0;
                trial = -1;
                become("closed", producing);
            }
        }

        synchronized void failed(int number, Producing producing) {
            if (stops) stopped = true;
            if (openAfter == 0 || (!state.equals("closed") && number != trial)) return;
            failures++;
            if (state.equals("closed") && failures < openAfter) return;
            trial = -1;
            until = System.nanoTime() + halfOpenNanos;
            become("open", producing);
        }

        private void become(String next, Producing producing) {
            state = next;
            String told = "{\"event\":\"breaker\",\"at\":" + System.nanoTime() + ",\"workload\":" + workload;
            producing.sayLater(told + ",\"state\":\"" + next + "\",\"failures\":" + failures + "}\n");
        }
    }

    /** The records of one workload, in the order of their times. */
    record Workload(
        int index, String topic, Integer partition, Semaphore window, boolean waits, Reaction reaction, long[] at, int[] size, int[] key,
        AtomicReference<Transactions.Habits> habits) {
        /** 16 bytes per record: its time in us, its bytes, the number of its key or -1, -2 where it cannot be serialized. */
        static Workload read(int index, String topic, Path file, Integer partition, Integer window, Reaction reaction) throws IOException {
            ByteBuffer columns = ByteBuffer.wrap(Files.readAllBytes(file));
            int records = columns.remaining() / 16;
            long[] at = new long[records];
            int[] size = new int[records];
            int[] key = new int[records];
            for (int i = 0; i < records; i++) {
                at[i] = columns.getLong();
                size[i] = columns.getInt();
                key[i] = columns.getInt();
            }
            boolean waits = window != null && window == 1;
            return new Workload(index, topic, partition, window == null ? null : new Semaphore(window), waits, reaction, at, size, key, new AtomicReference<>());
        }

        static Workload ofPractice(int index, String topic) {
            long[] at = new long[RECORDS_OF_A_PRACTICE];
            int[] size = new int[RECORDS_OF_A_PRACTICE];
            int[] key = new int[RECORDS_OF_A_PRACTICE];
            for (int i = 0; i < at.length; i++) {
                at[i] = i * 300L;
                size[i] = 100;
                key[i] = i % 2 - 1;
            }
            Reaction reaction = Reaction.of(index, "report");
            return new Workload(index, topic, null, new Semaphore(at.length / 2), false, reaction, at, size, key, new AtomicReference<>());
        }
    }

    /** The application: one thread per workload above one producer. */
    static final class Producing {
        final Producer producer;
        final List<Workload> workloads;
        final int index;
        final boolean silent;
        final List<Thread> threads = new ArrayList<>();
        int next;
        int transactions; // Begun so far.
        Set<String> holds = Set.of();
        final Map<String, Turns> turns = new HashMap<>(); // By topic.
        /** Records below this number have been announced: they may be in a log although nothing more was said of them. */
        int announced;
        volatile boolean over;
        /** A send has, since whoever asks has asked last. */
        volatile boolean hasFailed;
        volatile Exception problem;

        Producing(Producer producer, List<Workload> workloads, int index, int first) {
            this.next = this.announced = first;
            this.producer = producer;
            this.workloads = workloads;
            this.index = index;
            this.silent = index < 0;
            for (Workload workload : workloads) turns.putIfAbsent(workload.topic, new Turns(Math.min(LONGEST_TURN_MS, producer.maxBlockMs / 4)));
        }

        void run(long zero) throws InterruptedException {
            for (Workload workload : workloads) {
                boolean transactional = workload.habits.get() != null;
                threads.add(inBackground("workload-" + workload.index, transactional ? new Transactions(this, workload, zero)::run : () -> offer(workload, zero)));
            }
            for (Thread thread : threads) thread.join();
        }

        void stop() throws InterruptedException {
            over = true;
            for (Thread thread : threads) LockSupport.unpark(thread);
        }

        private void offer(Workload workload, long zero) throws InterruptedException {
            Reaction reaction = workload.reaction;
            int i = 0;
            for (; i < workload.at.length && !over && !reaction.stopped; i++) {
                waitUntil(zero + workload.at[i] * 1000, this);
                if (workload.window != null) workload.window.acquire();
                if (over || reaction.stopped) break;
                Outcome outcome = call(workload, i, zero, -1);
                while (workload.waits && reaction.resends && outcome.hasFailed() && !over) {
                    workload.window.acquire();
                    outcome = call(workload, i, zero, outcome.number);
                }
            }
            if (reaction.stopped && i < workload.at.length) {
                String told = "{\"event\":\"stopped\",\"at\":" + System.nanoTime() + ",\"workload\":" + workload.index;
                sayLater(told + ",\"left\":" + (workload.at.length - i) + "}\n");
            }
        }

        /** The record has its number from the moment of the call, unless it had one before (`known`). */
        Outcome call(Workload workload, int i, long zero, int known) throws InterruptedException {
            int number;
            Turns line = turns.get(workload.topic);
            synchronized (this) {
                number = known < 0 ? next++ : known;
                if (known < 0) tellOffered(number, workload, i, zero);
                else sayLater(offered(number, workload));
                line.come(number);
            }
            try {
                if (!workload.reaction.letsThrough(number, this)) {
                    Outcome outcome = new Outcome(this, workload, i, number);
                    outcome.end("refused", described(new CircuitBreakerOpenException()), "");
                    return outcome;
                }
                line.await(number);
                return send(workload, i, number);
            } finally {
                line.leave(number);
            }
        }

        private Outcome send(Workload workload, int i, int number) {
            byte[] key = workload.key[i] <= NO_KEY ? null : ("key-" + workload.key[i]).getBytes(StandardCharsets.US_ASCII);
            int bytes = Math.max(0, workload.size[i] - (key == null ? 0 : key.length));
            ProducerRecord<byte[], byte[]> record;
            if (workload.key[i] == UNSERIALIZABLE_KEY) {
                record = new ProducerRecord<>(workload.topic, workload.partition, null, UNSERIALIZABLE);
            } else {
                record = record(workload.topic, workload.partition, key, identity(number), bytes);
                mix(record.value(), identity(number).length() + 1, CONTENT.getOrDefault(workload.index, 0), number);
            }
            Outcome outcome = new Outcome(this, workload, i, number);
            try {
                producer.send(record, outcome);
            } catch (RuntimeException problem) {
                outcome.refused(problem);
                outcome.thrown = true;
            }
            outcome.inside = false;
            return outcome;
        }

        private static String offered(int number, Workload workload) {
            return "{\"event\":\"offered\",\"record\":" + number + ",\"workload\":" + workload.index + ",\"at\":" + System.nanoTime() + "}\n";
        }

        /** Before the record can be in any log, even if this process is killed in between. In a burst one line that is written at once speaks for many records. */
        private void tellOffered(int number, Workload workload, int i, long zero) {
            if (number >= announced) {
                int due = due(workload, i, zero);
                if (due < 2) {
                    say(offered(number, workload).stripTrailing());
                    return;
                }
                String until = ",\"until\":" + (number + due) + ",\"workload\":" + workload.index;
                say("{\"event\":\"announced\"" + until + ",\"at\":" + System.nanoTime() + "}");
                announced = number + due;
            }
            sayLater(offered(number, workload));
        }

        private String identity(int number) {
            String identity = index + "/" + number;
            return silent ? "w" : identity;
        }

        /** In a practice all is done as ever, but for the last step: what has never run is slow when it first does. */
        private void say(String line) {
            if (!silent) tell(line);
        }

        /** In its turn among all that is said, and written when this returns. */
        void sayAndWait(String line) throws InterruptedException {
            if (silent) return;
            CountDownLatch written = new CountDownLatch(1);
            EVENTS.put(line);
            EVENTS.put(written);
            written.await();
        }

        void sayLater(String line) {
            if (!silent) Client.sayLater(line);
        }

        /** How many records from this one on go out one right after another. */
        private static int due(Workload workload, int i, long zero) {
            int most = workload.window == null ? MOST_ANNOUNCED : Math.min(MOST_ANNOUNCED, workload.window.availablePermits() + 1);
            if (workload.habits.get() != null) most = Math.min(most, workload.habits.get().left);
            int end = Math.min(workload.at.length, i + most);
            long now = (System.nanoTime() - zero) / 1000;
            int j = i + 1;
            while (j < end && workload.at[j] <= now) j++;
            return j - i;
        }
    }

    /**
     * Threads that send to one topic enter the producer in the order of their calls: a record out of order shall be Kafka's doing.
     *
     * One that waits for memory is passed, as the producer keeps that order itself; one that waits for metadata after some time, as each has its own patience.
     */
    private static final class Turns {
        private final TreeMap<Integer, Thread> inside = new TreeMap<>();
        private final long longestNanos;

        Turns(long longestMillis) {
            this.longestNanos = longestMillis * 1_000_000;
        }

        synchronized void come(int number) {
            inside.put(number, Thread.currentThread());
        }

        synchronized void await(int number) throws InterruptedException {
            long called = System.nanoTime();
            for (Integer before = inside.lowerKey(number); before != null; before = inside.lowerKey(number)) {
                wait(1);
                Thread other = inside.get(before);
                if (other != null && lets(other, System.nanoTime() - called)) return;
            }
        }

        synchronized void leave(int number) {
            inside.remove(number);
            notifyAll();
        }

        private boolean lets(Thread other, long waited) {
            for (StackTraceElement call : other.getStackTrace()) {
                if (call.getMethodName().equals("allocate")) return true;
                if (call.getMethodName().equals("waitOnMetadata")) return waited > longestNanos;
            }
            return false;
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, Integer partition, byte[] key, String identity, int bytes) {
        byte[] text = (identity + " ").getBytes(StandardCharsets.US_ASCII);
        byte[] value = new byte[bytes];
        Arrays.fill(value, (byte) '.');
        boolean fits = text.length <= bytes;
        if (fits) System.arraycopy(text, 0, value, 0, text.length);
        List<Header> headers = fits ? null : List.of(new RecordHeader(identity, new byte[0]));
        return new ProducerRecord<>(topic, partition, key, value, headers);
    }

    /** Behind the identity: noise of so many millionths of the value, so that a batch compresses about to that. */
    private static void mix(byte[] value, int from, int millionths, int number) {
        int noise = Math.min(value.length - from, (int) (value.length * (long) millionths / 1_000_000));
        if (noise <= 0) return;
        byte[] bytes = new byte[noise];
        new SplittableRandom(number).nextBytes(bytes);
        System.arraycopy(bytes, 0, value, from, noise);
    }

    static final class Outcome implements Callback {
        final Producing producing;
        final Workload workload;
        final int i;
        final int number;
        final Thread caller = Thread.currentThread();
        /** send() has not returned. A callback that sends again is called by the thread that ran it. */
        boolean inside = true;
        volatile boolean known;
        /** send() threw. */
        boolean thrown;
        volatile boolean refused;
        private boolean failed;
        private final CountDownLatch over = new CountDownLatch(1);

        Outcome(Producing producing, Workload workload, int i, int number) {
            this.producing = producing;
            this.workload = workload;
            this.i = i;
            this.number = number;
        }

        /** As Future.get(): waits for the outcome. */
        boolean hasFailed() throws InterruptedException {
            over.await();
            return failed;
        }

        /** Called inside send() where the record was refused, and by the producer's own thread for everything else. */
        @Override
        public void onCompletion(RecordMetadata metadata, Exception exception) {
            if (known) return; // A transactional producer appends first and looks at its state then: its own thread fails the record once more.
            if (exception == null) {
                workload.reaction.succeeded(number, producing);
                end("acked", ",\"partition\":" + metadata.partition() + ",\"offset\":" + (metadata.hasOffset() ? metadata.offset() : -1), "");
            } else if (inside && Thread.currentThread() == caller) {
                refused(exception);
            } else {
                producing.problem = exception;
                producing.hasFailed = true;
                failed = true;
                boolean again = workload.reaction.resends && !workload.waits && !producing.over;
                if (!again) workload.reaction.failed(number, producing); // Before anybody who waits goes on.
                String details = ",\"partition\":" + (metadata == null ? -1 : metadata.partition()) + described(exception);
                end("failed", details, again ? Producing.offered(number, workload) : "");
                if (again) producing.send(workload, i, number);
            }
        }

        void refused(Exception exception) {
            if (known) return;
            refused = true;
            producing.hasFailed = true;
            producing.problem = exception;
            workload.reaction.failed(number, producing);
            end("refused", described(exception), "");
        }

        /** `again`: the line about the next send() of the record, which keeps its place in the window. */
        private void end(String event, String details, String again) {
            known = true;
            long now = System.nanoTime();
            String what = "{\"event\":\"" + event + "\",\"record\":" + number + ",\"at\":" + now + ",\"workload\":" + workload.index;
            producing.sayLater(what + details + "}\n" + again);
            over.countDown();
            if (workload.window != null && again.isEmpty()) workload.window.release();
        }
    }

    // What is said.

    static void sayLater(String line) {
        try {
            EVENTS.put(line);
        } catch (InterruptedException problem) {
            Thread.currentThread().interrupt();
        }
    }

    /** What can wait is written by a thread of its own: the producer's thread must not wait for a pipe. */
    private static void tellEvents() {
        try {
            List<Object> events = new ArrayList<>();
            while (true) {
                events.add(EVENTS.take());
                EVENTS.drainTo(events, 1000);
                StringBuilder lines = new StringBuilder();
                for (Object event : events) if (event instanceof String line) lines.append(line);
                write(lines.toString());
                for (Object event : events) if (event instanceof CountDownLatch waiting) waiting.countDown();
                events.clear();
            }
        } catch (IOException | InterruptedException problem) {
            Runtime.getRuntime().halt(1);
        }
    }

    /** At once: what was offered is known before it can be in any log, even if this process is killed in between. */
    private static void tell(String line) {
        try {
            write(line + "\n");
        } catch (IOException problem) {
            Runtime.getRuntime().halt(1);
        }
    }

    private static synchronized void write(String text) throws IOException {
        OUT.write(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void breakDown(Throwable problem) {
        problem.printStackTrace();
        Throwable cause = problem;
        while (cause.getCause() != null) cause = cause.getCause(); // "Failed to construct kafka producer" helps nobody.
        tell("{\"event\":\"broken\",\"at\":" + System.nanoTime() + described(cause) + "}");
        Runtime.getRuntime().halt(3);
    }

    static String described(Throwable exception) {
        Throwable cause = exception.getCause();
        boolean named = exception instanceof TimeoutException && cause instanceof ApiException;
        String message = exception.getMessage() + (named ? " (cause: " + cause.getClass().getSimpleName() + ")" : "");
        return ",\"class\":" + quoted(exception.getClass().getSimpleName()) + ",\"message\":" + quoted(message);
    }

    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') quoted.append('\\').append(c);
            else if (c < ' ' || Character.isSurrogate(c)) quoted.append(String.format("\\u%04x", (int) c));
            else quoted.append(c);
        }
        return quoted.append('"').toString();
    }

    // Time and threads.

    private static void waitUntil(long moment) {
        waitUntil(moment, null);
    }

    static void waitUntil(long moment, Producing producing) {
        for (long left = moment - System.nanoTime(); left > 0 && (producing == null || !producing.over); left = moment - System.nanoTime()) {
            if (left > SPIN_NANOS) LockSupport.parkNanos(left - SPIN_NANOS);
            else Thread.onSpinWait();
        }
    }

    private interface Work {
        void run() throws Exception;
    }

    private static Thread inBackground(String name, Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Throwable problem) {
                breakDown(problem);
            }
        }, name);
        thread.start();
        return thread;
    }
}
