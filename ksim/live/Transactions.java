import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Semaphore;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.TimeoutException;

/**
 * The application of a transactional producer: it begins a transaction, sends its records, and ends it, again and again.
 *
 * ksim_models.transactional_application is the same course of events, simulated: same order, same answer to each exception.
 */
final class Transactions {
    /** A step that is held goes on when the other end has said so: a fault comes in between. */
    static final Semaphore PROCEED = new Semaphore(0);

    static final Set<String> CANNOT_RECOVER = Set.of("ProducerFencedException", "UnsupportedVersionException", "IllegalStateException");

    /** How it puts its records into transactions. */
    static final class Habits {
        final int records;
        final boolean commits;
        final int abortEvery;
        final long thinkNanos;
        final long beginsAtNanos;
        final String onFailure;
        /** Records that the transaction at hand still wants. */
        volatile int left;

        private Habits(int records, boolean commits, int abortEvery, long thinkMicros, long beginsAtMicros, String onFailure) {
            this.records = records;
            this.commits = commits;
            this.abortEvery = abortEvery;
            this.thinkNanos = thinkMicros * 1000;
            this.beginsAtNanos = beginsAtMicros * 1000;
            this.onFailure = onFailure;
        }

        /** transaction WORKLOAD RECORDS END ABORT_EVERY THINK BEGINS_AT ON_FAILURE */
        static Habits read(String[] words) {
            return new Habits(
                Integer.parseInt(words[2]), words[3].equals("commit"), Integer.parseInt(words[4]), Long.parseLong(words[5]), Long.parseLong(words[6]), words[7]);
        }

        static Habits ofPractice() {
            return new Habits(10, true, 2, 0, 0, "report");
        }
    }

    private final Client.Producing producing;
    private final Client.Workload workload;
    private final Habits habits;
    private final long zero;
    private int next;
    /** Records of an aborted transaction that are sent again: number and place in the workload. */
    private final Deque<int[]> again = new ArrayDeque<>();
    private final List<int[]> mine = new ArrayList<>();
    private boolean stopped;

    Transactions(Client.Producing producing, Client.Workload workload, long zero) {
        this.producing = producing;
        this.workload = workload;
        this.habits = workload.habits().get();
        this.zero = zero;
    }

    void run() throws InterruptedException {
        Client.waitUntil(zero + habits.beginsAtNanos, producing);
        if (producing.over || goThrough() || producing.over) {
            finish();
            return;
        }
        again.clear();
        habits.left = Integer.MAX_VALUE;
        while (next < workload.at().length && !producing.over) { // Nothing can be done with this producer any more: these are refused.
            Client.waitUntil(due(), producing);
            if (!producing.over) send();
        }
        finish();
    }

    /** False: the producer is of no use any more. */
    private boolean goThrough() throws InterruptedException {
        if (call(producing, "init") != null) return false;
        while (!producing.over && !stopped && hasRecords()) {
            if (again.isEmpty()) Client.waitUntil(due(), producing);
            if (producing.over) break;
            if (!begin(producing)) return false;
            boolean fine = sendAll();
            if (fine && habits.thinkNanos > 0) Client.waitUntil(System.nanoTime() + habits.thinkNanos, producing);
            if (producing.over) break;
            if (!end(fine)) return false;
        }
        return true;
    }

    private boolean hasRecords() {
        return !again.isEmpty() || next < workload.at().length;
    }

    private long due() {
        return zero + workload.at()[next] * 1000;
    }

    /** False where it is to be aborted: send() threw, or whoever waits for each outcome has had a bad one. */
    private boolean sendAll() throws InterruptedException {
        mine.clear();
        for (habits.left = habits.records; habits.left > 0 && hasRecords() && !producing.over; habits.left--) {
            if (again.isEmpty()) Client.waitUntil(due(), producing);
            if (producing.over) break;
            Client.Outcome outcome = send();
            if (outcome.thrown || (workload.waits() && (outcome.hasFailed() || outcome.refused))) return false;
        }
        return true;
    }

    private Client.Outcome send() throws InterruptedException {
        if (workload.window() != null) workload.window().acquire();
        int[] known = again.poll();
        Client.Outcome outcome = producing.call(workload, known == null ? next++ : known[1], zero, known == null ? -1 : known[0]);
        mine.add(new int[] {outcome.number, outcome.i});
        return outcome;
    }

    /** By commit or abort. False: the producer is of no use any more. */
    private boolean end(boolean fine) throws InterruptedException {
        boolean wanted = !habits.commits || (habits.abortEvery > 0 && producing.transactions % habits.abortEvery == 0);
        if (fine && !wanted) {
            tell("commit", "");
            String problem = call(producing, "commit");
            if (problem == null) {
                tell("committed", "");
                return true;
            }
            if (CANNOT_RECOVER.contains(problem)) return false;
        }
        tell("abort", "");
        if (call(producing, "abort") != null) return false;
        tell("aborted", "");
        if (fine && wanted) return true;
        stopped = habits.onFailure.equals("stop");
        if (habits.onFailure.equals("resend")) {
            List<int[]> unsent = new ArrayList<>(again);
            again.clear();
            again.addAll(mine);
            again.addAll(unsent);
        }
        return true;
    }

    /** False: the producer is of no use any more. */
    static boolean begin(Client.Producing producing) throws InterruptedException {
        try {
            producing.producer.beginTransaction();
        } catch (RuntimeException problem) {
            tellFailed(producing, "begin", problem);
            return false;
        }
        producing.transactions++;
        tell(producing, "begin", "");
        return true;
    }

    /** Repeated for as long as it times out. The name of what else it threw; null where it returned. */
    static String call(Client.Producing producing, String name) throws InterruptedException {
        while (true) {
            try {
                switch (name) {
                    case "init" -> producing.producer.initTransactions();
                    case "commit" -> producing.producer.commitTransaction();
                    default -> producing.producer.abortTransaction();
                }
                return null;
            } catch (RuntimeException problem) {
                tellFailed(producing, name, problem);
                if (!timedOut(problem) && !(name.equals("init") && problem instanceof AuthorizationException)) return problem.getClass().getSimpleName();
            }
        }
    }

    /** It may still come to its end, and must be repeated. */
    private static boolean timedOut(RuntimeException problem) {
        return problem instanceof TimeoutException && String.valueOf(problem.getMessage()).startsWith("Timeout expired after");
    }

    private void finish() {
        String at = ",\"at\":" + System.nanoTime() + ",\"workload\":" + workload.index();
        if (stopped && next < workload.at().length) producing.sayLater("{\"event\":\"stopped\"" + at + ",\"left\":" + (workload.at().length - next) + "}\n");
        producing.sayLater("{\"event\":\"finished\"" + at + "}\n");
    }

    static void tellFailed(Client.Producing producing, String call, RuntimeException problem) throws InterruptedException {
        tell(producing, "failed", ",\"call\":\"" + call + "\"" + Client.described(problem));
    }

    private void tell(String phase, String details) throws InterruptedException {
        tell(producing, phase, details);
    }

    static void tell(Client.Producing producing, String phase, String details) throws InterruptedException {
        int number = producing.transactions;
        String what = "{\"event\":\"transaction\",\"at\":" + System.nanoTime() + ",\"number\":" + number + ",\"phase\":\"" + phase + "\"";
        producing.sayAndWait(what + details + "}\n");
        if (producing.holds.contains(number + ":" + phase)) PROCEED.acquire();
    }
}
