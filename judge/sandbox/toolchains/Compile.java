// Compiles the program on standard input to a jar file on standard output, whatever its public class is called.
// The jar's main class is the first with a `public static void main(String[])`. Exit code 1: why not is on standard error.

import com.sun.source.util.JavacTask;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.jar.Attributes;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.zip.ZipEntry;
import javax.lang.model.element.Element;
import javax.lang.model.element.ExecutableElement;
import javax.lang.model.element.Modifier;
import javax.lang.model.element.TypeElement;
import javax.lang.model.util.ElementFilter;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;

public class Compile {
    static final int MOST_ERRORS = 5;

    static class Source extends SimpleJavaFileObject {
        final String text;

        Source(String text) {
            super(URI.create("string:///Main.java"), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }

        @Override
        public boolean isNameCompatible(String simpleName, Kind kind) {
            return true;
        }
    }

    static class Made extends SimpleJavaFileObject {
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Made(String path) {
            super(URI.create("mem:///made.class"), Kind.CLASS);
        }

        @Override
        public OutputStream openOutputStream() {
            return bytes;
        }
    }

    static class Files extends ForwardingJavaFileManager<JavaFileManager> {
        final Map<String, Made> made = new LinkedHashMap<>();

        Files(JavaFileManager manager) {
            super(manager);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(Location location, String name, JavaFileObject.Kind kind, FileObject sibling) {
            return made.computeIfAbsent(name.replace('.', '/') + kind.extension, Made::new);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Source source = new Source(new String(System.in.readAllBytes(), StandardCharsets.UTF_8));
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        DiagnosticCollector<JavaFileObject> diagnostics = new DiagnosticCollector<>();
        Files files = new Files(compiler.getStandardFileManager(diagnostics, Locale.ENGLISH, StandardCharsets.UTF_8));
        OutputStreamWriter other = new OutputStreamWriter(System.err, StandardCharsets.UTF_8);
        JavacTask task = (JavacTask) compiler.getTask(
            other, files, diagnostics, List.of("-proc:none", "-nowarn", "-implicit:none", "-classpath", "/nonexistent"), null, List.of(source));
        Iterable<? extends Element> elements = task.analyze();
        String main = null;
        if (!failed(diagnostics)) {
            main = mainClass(elements, task);
            task.generate();
        }
        if (failed(diagnostics)) {
            report(diagnostics, source);
            System.exit(1);
        }
        if (main == null) {
            System.err.println("Main.java: error: no class has a `public static void main(String[] args)`");
            System.exit(1);
        }
        Manifest manifest = new Manifest();
        manifest.getMainAttributes().put(Attributes.Name.MANIFEST_VERSION, "1.0");
        manifest.getMainAttributes().put(Attributes.Name.MAIN_CLASS, main);
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        JarOutputStream jar = new JarOutputStream(whole, manifest);
        jar.setLevel(0);
        for (Map.Entry<String, Made> each : files.made.entrySet()) {
            jar.putNextEntry(new ZipEntry(each.getKey()));
            jar.write(each.getValue().bytes.toByteArray());
            jar.closeEntry();
        }
        jar.close();
        whole.writeTo(System.out);
        System.out.flush();
        System.exit(0);
    }

    static boolean failed(DiagnosticCollector<JavaFileObject> diagnostics) {
        return diagnostics.getDiagnostics().stream().anyMatch(each -> each.getKind() == Diagnostic.Kind.ERROR);
    }

    static void report(DiagnosticCollector<JavaFileObject> diagnostics, Source source) {
        int left = MOST_ERRORS;
        String[] lines = source.text.split("\n", -1);
        for (Diagnostic<? extends JavaFileObject> each : diagnostics.getDiagnostics()) {
            if (each.getKind() != Diagnostic.Kind.ERROR || left-- <= 0) {
                continue;
            }
            int line = (int) each.getLineNumber();
            System.err.println("Main.java:" + line + ": error: " + each.getMessage(Locale.ENGLISH));
            if (line > 0 && line <= lines.length && lines[line - 1].length() < 200) {
                System.err.println("    " + lines[line - 1].strip());
            }
        }
    }

    static String mainClass(Iterable<? extends Element> elements, JavacTask task) {
        Deque<TypeElement> waiting = new ArrayDeque<>();
        for (Element element : elements) {
            if (element instanceof TypeElement) {
                waiting.add((TypeElement) element);
            }
        }
        while (!waiting.isEmpty()) {
            TypeElement type = waiting.remove();
            for (ExecutableElement method : ElementFilter.methodsIn(type.getEnclosedElements())) {
                boolean open = method.getModifiers().containsAll(List.of(Modifier.PUBLIC, Modifier.STATIC));
                boolean called = method.getSimpleName().contentEquals("main") && method.getParameters().size() == 1;
                if (open && called && method.getParameters().get(0).asType().toString().equals("java.lang.String[]")) {
                    return task.getElements().getBinaryName(type).toString();
                }
            }
            waiting.addAll(ElementFilter.typesIn(type.getEnclosedElements()));
        }
        return null;
    }
}
