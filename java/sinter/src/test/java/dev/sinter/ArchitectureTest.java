package dev.sinter;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.GeneralCodingRules.NO_CLASSES_SHOULD_ACCESS_STANDARD_STREAMS;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

/** The arrows of ARCHITECTURE.md: nothing below knows what is above. */
@AnalyzeClasses(packages = "dev.sinter", importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {
  @ArchTest
  static final ArchRule ARROWS =
      layeredArchitecture()
          .consideringOnlyDependenciesInLayers()
          .layer("facade")
          .definedBy("dev.sinter")
          .layer("search")
          .definedBy("dev.sinter.search")
          .layer("report")
          .definedBy("dev.sinter.report")
          .layer("finetune")
          .definedBy("dev.sinter.finetune")
          .layer("align")
          .definedBy("dev.sinter.align")
          .layer("train")
          .definedBy("dev.sinter.train")
          .layer("generate")
          .definedBy("dev.sinter.generate")
          .layer("evaluate")
          .definedBy("dev.sinter.evaluate")
          .layer("model")
          .definedBy("dev.sinter.model")
          .layer("graph")
          .definedBy("dev.sinter.graph")
          .layer("natives")
          .definedBy("dev.sinter.natives..", "dev.sinter.presets..")
          .layer("data")
          .definedBy("dev.sinter.data")
          .layer("text")
          .definedBy("dev.sinter.text")
          .layer("io")
          .definedBy("dev.sinter.io")
          .whereLayer("facade")
          .mayNotBeAccessedByAnyLayer()
          .whereLayer("search")
          .mayOnlyBeAccessedByLayers("facade")
          .whereLayer("report")
          .mayOnlyBeAccessedByLayers("facade")
          .whereLayer("finetune")
          .mayOnlyBeAccessedByLayers("facade")
          .whereLayer("align")
          .mayOnlyBeAccessedByLayers("facade")
          .whereLayer("train")
          .mayOnlyBeAccessedByLayers("facade", "finetune", "align")
          .whereLayer("generate")
          .mayOnlyBeAccessedByLayers("facade", "finetune", "align")
          .whereLayer("evaluate")
          .mayOnlyBeAccessedByLayers("facade", "report", "finetune", "align", "train")
          .whereLayer("model")
          .mayOnlyBeAccessedByLayers("facade", "finetune", "align", "train", "generate", "evaluate")
          .whereLayer("graph")
          .mayOnlyBeAccessedByLayers(
              "facade", "finetune", "align", "train", "generate", "evaluate", "model")
          .whereLayer("natives")
          .mayOnlyBeAccessedByLayers("graph")
          .whereLayer("io")
          .mayNotAccessAnyLayer();

  @ArchTest
  static final ArchRule NO_CIRCLES =
      slices().matching("dev.sinter.(*)..").should().beFreeOfCycles();

  @ArchTest static final ArchRule NO_PRINTING = NO_CLASSES_SHOULD_ACCESS_STANDARD_STREAMS;

  @ArchTest
  static final ArchRule NO_EXIT = noClasses().should().callMethod(System.class, "exit", int.class);

  @ArchTest
  static final ArchRule PUBLIC_API_IS_FREE_OF_LIBRARIES =
      noClasses()
          .that()
          .resideOutsideOfPackages(
              "dev.sinter.graph", "dev.sinter.natives..", "dev.sinter.presets..")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("org.bytedeco..");
}
