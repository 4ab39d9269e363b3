package dev.sinter.presets;

import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/** How {@code sinter.h} maps to Java: opaque handles become classes, the C names stay. */
@Properties(
    value =
        @Platform(
            value = {"linux-x86_64", "linux-arm64"},
            compiler = "cpp17",
            include = "sinter/sinter.h",
            link = "sinter"),
    target = "dev.sinter.natives",
    global = "dev.sinter.natives.global.sinter")
@NoException
public class sinter implements InfoMapper {
  @Override
  public void map(InfoMap map) {
    map.put(new Info("SN_API").cppTypes().annotations())
        .put(new Info("sn_device").pointerTypes("sn_device"))
        .put(new Info("sn_stream").pointerTypes("sn_stream"))
        .put(new Info("sn_recording").pointerTypes("sn_recording"))
        // Pointer has a capacity of its own.
        .put(new Info("sn_cache_shape::capacity").javaNames("cache_capacity"))
        // Tensors are addresses on a device: nothing that Java could index, whatever their type.
        .put(new Info("float").cast().valueTypes("float").pointerTypes("Pointer"))
        .put(new Info("int32_t").cast().valueTypes("int").pointerTypes("Pointer"))
        .put(new Info("uint8_t").cast().valueTypes("byte").pointerTypes("Pointer"));
  }
}
