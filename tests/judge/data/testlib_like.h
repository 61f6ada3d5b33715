// What the tests' own generators, validators and checkers need of testlib's interface, written for these tests.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

enum Verdict { _ok = 0, _wa = 1, _pe = 2, _fail = 3 };

inline void quitf(Verdict verdict, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    exit(verdict);
}

struct Stream {
    FILE *file = stdin;
    Verdict wrong = _fail;
    long long readLong(long long low, long long high) {
        int next = fgetc(file);
        if (next != '-' && (next < '0' || next > '9')) quitf(wrong, "expected a number");
        ungetc(next, file);
        long long value;
        if (fscanf(file, "%lld", &value) != 1 || value < low || value > high) quitf(wrong, "out of [%lld, %lld]", low, high);
        return value;
    }
    long long token() {
        long long value;
        if (fscanf(file, "%lld", &value) != 1) quitf(wrong, "expected a number");
        return value;
    }
    void readEoln() { if (fgetc(file) != '\n') quitf(wrong, "expected the end of the line"); }
    void readEof() { if (fgetc(file) != EOF) quitf(wrong, "expected the end of the file"); }
};
inline Stream inf, ouf, ans;

struct Random {
    unsigned long long state = 1;
    long long next(long long low, long long high) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return low + static_cast<long long>((state >> 1) % static_cast<unsigned long long>(high - low + 1));
    }
};
inline Random rnd;
inline std::map<std::string, std::string> options;

inline void registerGen(int count, char *words[], int) {
    for (int i = 1; i < count; i++) {
        for (const char *letter = words[i]; *letter; letter++) rnd.state = rnd.state * 31 + *letter;
        if (words[i][0] == '-' && i + 1 < count) options[words[i] + 1] = words[i + 1];
    }
}
template <class T> T opt(const char *name) { return static_cast<T>(atoll(options[name].c_str())); }

inline void registerValidation(int, char *[]) {}
inline void registerTestlibCmd(int, char *words[]) {
    inf.file = fopen(words[1], "r");
    ouf.file = fopen(words[2], "r");
    ans.file = fopen(words[3], "r");
    ouf.wrong = _pe;
}
