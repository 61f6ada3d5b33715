// A shortest path from 1 to n in an undirected graph; a validator of the Kattis form.
#include <fstream>
#include <iostream>
#include <set>
#include <string>
int main(int count, char **words) {
    std::ifstream input(words[1]), answer(words[2]);
    std::ofstream message(std::string(words[3]) + "/judgemessage.txt");
    size_t nodes, edges, length, at, next, steps = 0;
    std::set<std::pair<size_t, size_t>> joined;
    input >> nodes >> edges;
    for (size_t a, b; edges-- && input >> a >> b;) joined.insert({a, b}), joined.insert({b, a});
    answer >> length;
    if (!(std::cin >> at) || at != 1) { message << "it begins elsewhere"; return 43; }
    while (std::cin >> next) {
        if (!joined.count({at, next})) { message << "no edge"; return 43; }
        at = next;
        ++steps;
    }
    return at == nodes && steps == length ? 42 : 43;
}
