// Guess a number in at most 10 questions; a validator of the Kattis form.
#include <fstream>
#include <iostream>
#include <string>
int main(int, char **words) {
    std::ifstream input(words[1]);
    std::ofstream team(std::string(words[3]) + "/teammessage.txt");
    long secret, number;
    input >> secret;
    std::string kind;
    for (int turn = 0; turn < 10; ++turn) {
        if (!(std::cin >> kind >> number)) { team << "the conversation ended early"; return 43; }
        if (kind == "!") return number == secret ? 42 : 43;
        std::cout << (secret < number ? "<" : secret > number ? ">" : "=") << std::endl;
    }
    team << "too many questions";
    return 43;
}
