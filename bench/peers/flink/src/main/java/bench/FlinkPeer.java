package bench;

import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.WindowAssigner;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/** The benchmark's workloads on Flink's DataStream API: parallelism 2, state on the heap. */
public final class FlinkPeer {
    private static final int PARALLELISM = 2;
    private static final long KEYS = 100_000;

    private FlinkPeer() {}

    public static void main(String[] args) throws Exception {
        String workload = args[0];
        long records = Long.parseLong(args[1]);
        StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createLocalEnvironment(PARALLELISM);
        env.getConfig().enableObjectReuse();
        output(env, workload, records)
                .filter(new Tally())
                .sinkTo(new DiscardingSink<>());
        env.execute(workload);
        System.out.println(line(workload, records));
    }

    private static DataStream<Rec> output(
            StreamExecutionEnvironment env, String workload, long records) {
        boolean timed = workload.equals("tumbling") || workload.equals("hop");
        DataStream<Rec> input =
                env.fromSource(
                        Input.source(records, KEYS),
                        timed ? Input.watermarks() : WatermarkStrategy.noWatermarks(),
                        "part");
        return switch (workload) {
            case "chain" ->
                    input.map(r -> new Rec(r.key, r.at, r.value * 3 + 1))
                            .filter(r -> (r.value & 2) == 0)
                            .map(r -> new Rec(r.key ^ r.value, r.at, r.value));
            case "shuffle" -> input.keyBy(r -> r.key);
            case "sum" -> input.keyBy(r -> r.key).process(new Sum());
            case "tumbling" -> windows(input, TumblingEventTimeWindows.of(Duration.ofSeconds(1)));
            case "hop" ->
                    windows(
                            input,
                            SlidingEventTimeWindows.of(Duration.ofSeconds(10), Duration.ofSeconds(1)));
            default ->
                    throw new IllegalArgumentException(
                            "use chain, shuffle, sum, tumbling or hop, not " + workload);
        };
    }

    private static DataStream<Rec> windows(
            DataStream<Rec> input, WindowAssigner<Object, TimeWindow> assigner) {
        return input.keyBy(r -> r.key).window(assigner).aggregate(new WindowSum(), new Result());
    }

    /** The running sum per key, for every record. */
    private static final class Sum extends KeyedProcessFunction<Long, Rec, Rec> {
        private transient ValueState<Long> sum;

        @Override
        public void open(OpenContext context) {
            sum = getRuntimeContext().getState(new ValueStateDescriptor<>("sum", Types.LONG));
        }

        @Override
        public void processElement(Rec r, Context context, Collector<Rec> out) throws Exception {
            Long before = sum.value();
            long now = (before == null ? 0 : before) + r.value;
            sum.update(now);
            out.collect(new Rec(r.key, r.at, now));
        }
    }

    private static final class WindowSum implements AggregateFunction<Rec, Long, Long> {
        @Override
        public Long createAccumulator() {
            return 0L;
        }

        @Override
        public Long add(Rec r, Long sum) {
            return sum + r.value;
        }

        @Override
        public Long getResult(Long sum) {
            return sum;
        }

        @Override
        public Long merge(Long a, Long b) {
            return a + b;
        }
    }

    private static final class Result extends ProcessWindowFunction<Long, Rec, Long, TimeWindow> {
        @Override
        public void process(Long key, Context context, Iterable<Long> sums, Collector<Rec> out) {
            out.collect(new Rec(key, context.window().getStart(), sums.iterator().next()));
        }
    }

    private static String line(String workload, long records) throws Exception {
        double seconds = (Tally.endNanos - Input.START_NANOS.get()) / 1e9;
        var system =
                (com.sun.management.OperatingSystemMXBean)
                        ManagementFactory.getOperatingSystemMXBean();
        return String.format(
                Locale.ROOT,
                "{\"workload\":\"%s\",\"records_in\":%d,\"records_out\":%d,\"checksum\":\"%016x\","
                        + "\"value_sum\":%d,\"agreement\":\"exact\",\"seconds\":%f,"
                        + "\"cpu_seconds\":%f,\"peak_rss_bytes\":%d}",
                workload,
                records,
                Tally.allRecords,
                Tally.allChecksum,
                Tally.allValues,
                seconds,
                system.getProcessCpuTime() / 1e9,
                peakRssBytes());
    }

    private static long peakRssBytes() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
            }
        }
        return 0;
    }
}
