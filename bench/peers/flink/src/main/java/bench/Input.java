package bench;

import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;

/** The source: two splits of a number sequence, which become the even and the odd records. */
final class Input {
    static final long WATERMARK_MS = 100;

    /** When the first subtask opened: the start of the measurement, without the cluster's start. */
    static final AtomicLong START_NANOS = new AtomicLong();

    private Input() {}

    static DataGeneratorSource<Rec> source(long records, long keys) {
        return new DataGeneratorSource<>(
                new Generator(records, keys), records, TypeInformation.of(Rec.class));
    }

    static WatermarkStrategy<Rec> watermarks() {
        return WatermarkStrategy.<Rec>forGenerator(context -> new EveryBoundary())
                .withTimestampAssigner((record, before) -> record.at);
    }

    private static final class Generator implements GeneratorFunction<Long, Rec> {
        private final long half;
        private final long keys;

        Generator(long records, long keys) {
            this.half = (records + 1) / 2;
            this.keys = keys;
        }

        @Override
        public void open(SourceReaderContext context) {
            START_NANOS.compareAndSet(0, System.nanoTime());
        }

        @Override
        public Rec map(Long at) {
            return Rec.of(at < half ? 2 * at : 2 * (at - half) + 1, keys);
        }
    }

    /** A watermark at the first record of every 100 ms of event time. */
    private static final class EveryBoundary implements WatermarkGenerator<Rec> {
        private long passed;

        @Override
        public void onEvent(Rec record, long at, WatermarkOutput output) {
            long boundary = at / WATERMARK_MS;
            if (boundary > passed) {
                passed = boundary;
                output.emitWatermark(new Watermark(boundary * WATERMARK_MS - 1));
            }
        }

        @Override
        public void onPeriodicEmit(WatermarkOutput output) {}
    }
}
