import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A consumer and the application above it: poll(), work, commit; or poll(), work, send one record for each, commit.
 *
 * ksim_models.consumer, copying_consumer and copying_producer are the same course of events, simulated.
 */
final class Reading {
    private static final Duration IDLE = Duration.ofMillis(100);
    private static final Pattern IDENTITY = Pattern.compile("(\\d+)/(\\d+)(?: .*)?", Pattern.DOTALL);

    /** What the process is told of it. */
    static final class Habits {
        final Map<String, Object> settings = new HashMap<>();
        final List<String> topics = new ArrayList<>();
        long workNanos;
        String commit = "none";
        String group;
        /** Where an application writes; null: nobody writes. */
        String writes;
        int commitEvery;
        int size;
        boolean groupMetadata;
        boolean leaderEpochs = true;
    }

    /** Records of one producer that follow each other, by number and by offset. */
    private record Slice(TopicPartition partition, long base, int producer, int first, int count) {}

    private final Habits habits;
    private final Client.Producing producing; // Null: it only reads.
    private final Client.Workload made;
    private final boolean transactional;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Map<TopicPartition, OffsetAndMetadata> toCommit = new HashMap<>(); // Read since the last commit: the next one.
    private final Map<TopicPartition, Optional<Integer>> epochs = new HashMap<>(); // Of the last record read.
    private int count; // Read since the last commit.
    private boolean begun;
    private boolean ended; // It is of no use any more.
    private String idle = "";
    volatile boolean over;
    private Thread thread;

    Reading(Habits habits, Client.Producing producing, boolean transactional) {
        this.habits = habits;
        this.producing = producing;
        this.transactional = transactional;
        this.made = producing == null ? null : producing.workloads.get(0);
        this.consumer = new KafkaConsumer<>(habits.settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** What an application makes has no times of its own. */
    static Client.Workload ofWhatIsMade(Habits habits) {
        Client.Reaction reaction = Client.Reaction.of(0, "report");
        return new Client.Workload(
            0, habits.writes, null, null, false, reaction, new long[] {0}, new int[] {habits.size}, new int[] {-1}, new AtomicReference<>());
    }

    static void practise(String bootstrap, String topic) {
        Map<String, Object> own = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest"));
        try (KafkaConsumer<byte[], byte[]> practice = new KafkaConsumer<>(own, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            practice.assign(List.of(new TopicPartition(topic, 0)));
            for (int i = 0; i < 5; i++) practice.poll(Duration.ofMillis(20));
        }
    }

    void run() throws InterruptedException {
        thread = Thread.currentThread();
        try {
            if (transactional && Transactions.call(producing, "init") != null) {
                comeToAnEnd();
                return;
            }
            if (habits.group != null) consumer.subscribe(habits.topics, new Changes());
            while (!over && !ended) {
                if (habits.group == null) assignAll();
                ConsumerRecords<byte[], byte[]> records = consumer.poll(IDLE);
                if (!records.isEmpty()) take(records);
                else if (count > 0) end();
                else tellIdle();
            }
        } catch (WakeupException asked) {
            if (!over) throw asked;
        } catch (RuntimeException problem) {
            say("ended", Client.described(problem));
            ended = true;
        }
        consumer.close(Duration.ofSeconds(30)); // So its group need not wait for its session to be over.
    }

    /** From another thread: the application ends. */
    void stop(long patienceMs) throws InterruptedException {
        over = true;
        consumer.wakeup();
        if (thread != null) thread.join(patienceMs);
    }

    private void assignAll() {
        List<TopicPartition> all = new ArrayList<>();
        for (String topic : habits.topics) for (PartitionInfo one : consumer.partitionsFor(topic)) all.add(new TopicPartition(topic, one.partition()));
        if (!Set.copyOf(all).equals(consumer.assignment())) consumer.assign(all);
    }

    private void take(ConsumerRecords<byte[], byte[]> records) throws InterruptedException {
        idle = "";
        List<Slice> slices = slices(records);
        for (Slice one : slices) if (one.producer >= 0) say("read", shown(one));
        for (TopicPartition one : records.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> read = records.records(one);
            if (habits.leaderEpochs) epochs.put(one, read.get(read.size() - 1).leaderEpoch());
        }
        if (habits.workNanos > 0) Client.waitUntil(System.nanoTime() + habits.workNanos * records.count(), null);
        if (producing == null) {
            commitAsAsked();
            return;
        }
        for (Slice one : slices) {
            count += one.count;
            toCommit.put(one.partition, next(one.partition, one.base + one.count));
        }
        if (sendAll(slices) && count >= habits.commitEvery) end();
    }

    /** As commitSync() and ConsumerRecords.nextOffsets() make it (KIP-320). */
    private OffsetAndMetadata next(TopicPartition partition, long offset) {
        return new OffsetAndMetadata(offset, epochs.getOrDefault(partition, Optional.empty()), "");
    }

    private void commitAsAsked() {
        if (habits.commit.equals("none") || habits.group == null) return;
        Map<TopicPartition, OffsetAndMetadata> consumed = new HashMap<>();
        positions().forEach((one, offset) -> consumed.put(one, next(one, offset)));
        if (habits.commit.equals("async")) {
            consumer.commitAsync(consumed, (which, problem) -> tellCommitted(which, problem == null ? "" : problem.getClass().getSimpleName(), 0));
        } else {
            commitSync(consumed);
        }
    }

    /** A commit that failed is a reason to poll() again; only to be fenced ends the application. */
    private void commitSync(Map<TopicPartition, OffsetAndMetadata> what) {
        String error = "";
        RuntimeException thrown = null;
        try {
            consumer.commitSync(what);
        } catch (WakeupException asked) {
            throw asked;
        } catch (RuntimeException problem) {
            error = problem.getClass().getSimpleName();
            thrown = problem;
        }
        tellCommitted(what, error, 0);
        if (error.equals("FencedInstanceIdException")) throw thrown;
    }

    // An application's own.

    /** False: what was open is not any more. */
    private boolean sendAll(List<Slice> slices) throws InterruptedException {
        if (transactional && !begun) {
            if (!Transactions.begin(producing)) {
                comeToAnEnd();
                return false;
            }
            begun = true;
        }
        for (Slice one : slices) {
            if (one.producer >= 0) say("processed", shown(one) + ",\"made\":" + producing.next);
            for (int i = 0; i < one.count; i++) {
                Client.Outcome outcome = producing.call(made, 0, 0, -1);
                if (outcome.thrown && transactional) {
                    abort(true);
                    return false;
                }
            }
        }
        return true;
    }

    private void end() throws InterruptedException {
        if (!transactional) {
            producing.producer.flush();
            boolean failed = producing.hasFailed;
            producing.hasFailed = false;
            if (failed) rewind();
            else commitSync(new HashMap<>(toCommit));
            close();
            return;
        }
        step("send-offsets", ",\"group\":" + Client.quoted(habits.group) + ",\"offsets\":" + shownOffsets(toCommit));
        try {
            ConsumerGroupMetadata member = habits.groupMetadata ? consumer.groupMetadata() : new ConsumerGroupMetadata(habits.group);
            producing.producer.sendOffsetsToTransaction(new HashMap<>(toCommit), member);
        } catch (RuntimeException problem) {
            Transactions.tellFailed(producing, "send-offsets", problem);
            giveUp(problem.getClass().getSimpleName());
            return;
        }
        step("commit", "");
        String name = Transactions.call(producing, "commit");
        if (name != null) {
            giveUp(name);
            return;
        }
        step("committed", "");
        tellCommitted(toCommit, "", producing.transactions);
        close();
    }

    private void giveUp(String name) throws InterruptedException {
        if (Transactions.CANNOT_RECOVER.contains(name)) {
            comeToAnEnd();
            return;
        }
        tellCommitted(toCommit, name, producing.transactions);
        abort(true);
    }

    private void abort(boolean rewinds) throws InterruptedException {
        step("abort", "");
        if (Transactions.call(producing, "abort") != null) {
            comeToAnEnd();
            return;
        }
        step("aborted", "");
        if (rewinds) rewind();
        close();
    }

    private void close() {
        begun = false;
        producing.hasFailed = false;
        count = 0;
        toCommit.clear();
    }

    /** Back to the committed offsets, or to the beginning where there are none. */
    private void rewind() {
        Set<TopicPartition> mine = consumer.assignment();
        Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(mine);
        for (TopicPartition one : mine) {
            if (committed.get(one) == null) consumer.seekToBeginning(List.of(one));
            else consumer.seek(one, committed.get(one));
        }
    }

    private void comeToAnEnd() throws InterruptedException {
        ended = true;
        producing.sayAndWait(
            "{\"event\":\"ended\",\"at\":" + System.nanoTime()
                + ",\"class\":\"KafkaException\",\"message\":\"The application's producer is of no use any more.\"}\n");
    }

    private final class Changes implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
            if (count > 0 && producing != null && !ended) quietly(Reading.this::end);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> gone) {
            if (count == 0 || producing == null || ended) return;
            if (begun) quietly(() -> abort(false));
            else close();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> mine) {
            idle = "";
        }
    }

    private interface Step {
        void run() throws InterruptedException;
    }

    private static void quietly(Step step) {
        try {
            step.run();
        } catch (InterruptedException problem) {
            Thread.currentThread().interrupt();
        }
    }

    // What is said.

    private static List<Slice> slices(ConsumerRecords<byte[], byte[]> records) {
        List<Slice> found = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> one : records) {
            int[] who = identity(one);
            TopicPartition partition = new TopicPartition(one.topic(), one.partition());
            Slice last = found.isEmpty() ? null : found.get(found.size() - 1);
            boolean goesOn = last != null && last.partition.equals(partition) && last.producer == who[0] && last.base + last.count == one.offset()
                && (who[0] < 0 || last.first + last.count == who[1]);
            if (goesOn) found.set(found.size() - 1, new Slice(partition, last.base, last.producer, last.first, last.count + 1));
            else found.add(new Slice(partition, one.offset(), who[0], who[1], 1));
        }
        return found;
    }

    private static int[] identity(ConsumerRecord<byte[], byte[]> record) {
        Matcher found = IDENTITY.matcher(record.value() == null ? "" : new String(record.value(), StandardCharsets.ISO_8859_1));
        if (found.matches()) return new int[] {Integer.parseInt(found.group(1)), Integer.parseInt(found.group(2))};
        for (Header header : record.headers()) {
            Matcher inHeader = IDENTITY.matcher(header.key());
            if (inHeader.matches()) return new int[] {Integer.parseInt(inHeader.group(1)), Integer.parseInt(inHeader.group(2))};
        }
        return new int[] {-1, 0};
    }

    private static String shown(Slice one) {
        return ",\"topic\":" + Client.quoted(one.partition.topic()) + ",\"partition\":" + one.partition.partition() + ",\"base\":" + one.base
            + ",\"producer\":" + one.producer + ",\"first\":" + one.first + ",\"count\":" + one.count;
    }

    private static String place(TopicPartition partition) {
        return Client.quoted(partition.topic()) + "," + partition.partition();
    }

    private static String shownOffsets(Map<TopicPartition, OffsetAndMetadata> which) {
        List<String> all = new ArrayList<>();
        which.forEach((partition, offset) -> all.add("[" + place(partition) + "," + offset.offset() + "]"));
        all.sort(null);
        return "[" + String.join(",", all) + "]";
    }

    private void tellCommitted(Map<TopicPartition, OffsetAndMetadata> which, String error, int transaction) {
        say("offsets", ",\"offsets\":" + shownOffsets(which) + ",\"class\":\"" + error + "\",\"transaction\":" + transaction);
    }

    /** Nothing more was there: up to where it has read, where that is news. */
    private void tellIdle() {
        Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();
        positions().forEach((one, offset) -> read.put(one, new OffsetAndMetadata(offset)));
        String now = shownOffsets(read);
        if (!now.equals(idle)) say("idle", ",\"offsets\":" + now);
        idle = now;
    }

    /** Of those partitions that have one: position() waits for the others, a minute at most, and throws, while offsets of an open transaction are pending. */
    private Map<TopicPartition, Long> positions() {
        Map<TopicPartition, Long> known = new HashMap<>();
        for (TopicPartition one : consumer.assignment()) {
            try {
                known.put(one, consumer.position(one, Duration.ZERO));
            } catch (TimeoutException none) {
                // Not read from yet.
            }
        }
        return known;
    }

    private void say(String event, String details) {
        Client.sayLater("{\"event\":\"" + event + "\",\"at\":" + System.nanoTime() + details + "}\n");
    }

    private void step(String phase, String details) throws InterruptedException {
        Transactions.tell(producing, phase, details);
    }
}
