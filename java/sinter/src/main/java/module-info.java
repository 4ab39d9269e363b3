/**
 * The GPT engine of the JVM. {@link dev.sinter.Gpt} is where to begin; the other packages are what
 * it is made of, from models down to tensors.
 */
module dev.sinter {
  requires com.fasterxml.jackson.core;
  requires com.fasterxml.jackson.databind;
  requires com.sun.jna;
  requires dev.sinter.natives;
  requires org.apache.commons.csv;
  requires org.bytedeco.javacpp;
  requires org.slf4j;

  exports dev.sinter;
  exports dev.sinter.align;
  exports dev.sinter.data;
  exports dev.sinter.evaluate;
  exports dev.sinter.finetune;
  exports dev.sinter.generate;
  exports dev.sinter.graph;
  exports dev.sinter.io;
  exports dev.sinter.model;
  exports dev.sinter.report;
  exports dev.sinter.search;
  exports dev.sinter.text;
  exports dev.sinter.train;
}
