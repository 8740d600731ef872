package bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFilterFunction;

/**
 * Counts and checksums what comes, and lets nothing pass. Subtasks add up here when they close: they
 * share this process.
 */
public class Tally extends RichFilterFunction<Rec> {
    static long allRecords;
    static long allChecksum;
    static long allValues;
    static long endNanos;

    private transient long records;
    private transient long checksum;
    private transient long values;

    @Override
    public void open(OpenContext context) {
        records = 0;
        checksum = 0;
        values = 0;
    }

    @Override
    public boolean filter(Rec r) {
        long x = r.key * 0x9E3779B97F4A7C15L + r.at * 0xC2B2AE3D27D4EB4FL + r.value * 0x165667B19E3779F9L;
        records += 1;
        checksum += x ^ (x >>> 29);
        values += r.value;
        return false;
    }

    @Override
    public void close() {
        synchronized (Tally.class) {
            allRecords += records;
            allChecksum += checksum;
            allValues += values;
            endNanos = System.nanoTime();
        }
    }
}
