package bench;

/** One record of the synthetic stream; the same function of its index as in bench/stream. */
public class Rec {
    public long key;
    public long at;
    public long value;

    static final long RECORDS_PER_MS = 1000;
    static final long KEY_CLASSES = 32;

    public Rec() {}

    public Rec(long key, long at, long value) {
        this.key = key;
        this.at = at;
        this.value = value;
    }

    static Rec of(long index, long keys) {
        long x = (index + 1) * 0x9E3779B97F4A7C15L;
        x = (x ^ (x >>> 32)) * 0xD6E8FEB86659FD93L;
        x ^= x >>> 32;
        long rows = keys / KEY_CLASSES;
        // The upper half of an unsigned product, for a factor that is not negative.
        long row = Math.multiplyHigh(x, rows) + ((x >> 63) & rows);
        return new Rec(row * KEY_CLASSES + index % KEY_CLASSES, index / RECORDS_PER_MS, x & 1023);
    }
}
