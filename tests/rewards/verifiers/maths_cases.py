"""Answers to mathematical questions: the same in other words, nearly the same, and made to break what reads them.

Shared by the stress test and by ``benchmarks/maths_answers.py``. A case is (kind, gold answer, output, whether the output is right;
None where nobody can say).
"""

from __future__ import annotations

# A gold answer, and other ways to write it.
SAME = {
    "0.5": [r"\frac12", r"\frac{1}{2}", "1/2", r"50\%", "50%", ".5", "0.50", "0.500000", r"\dfrac{1}{2}", r"\tfrac12", r"1 \over 2", "2^{-1}", r"\frac{2}{4}", "½", r"\sqrt{\frac14}", "0{,}5", "5e-1", r"5 \times 10^{-1}", r"\cos 60^\circ", r"\text{0.5}", r"\left(\frac{1}{2}\right)", r"\frac{50}{100}", r"\sin\frac{\pi}{6}", "{0.5}", "$0.5$", r"\(0.5\)", "x=0.5", r"x = \frac{1}{2}", r"0.5\text{ metres}", r"\approx 0.5"],
    r"\frac{1}{2}": ["0.5", r"50\%", "1/2", r"\frac{-1}{-2}", "½", "x=1/2"],
    r"\sqrt{8}": [r"2\sqrt2", r"2\sqrt{2}", r"2 \cdot \sqrt{2}", "8^{1/2}", r"8^{\frac12}", r"\frac{4}{\sqrt2}", "2^{3/2}", "2^{1.5}", r"\sqrt{2}\cdot 2", r"\sqrt8", "2√2", r"2\times\sqrt{2}", r"\sqrt{2^3}", "2*sqrt(2)", r"\sqrt[2]{8}", "√8"],
    "(x+1)^2": ["x^2+2x+1", "(1+x)^2", "(x+1)(x+1)", "x^2 + 2x + 1", "1+2x+x^2", r"(x+1)\cdot(x+1)", "x(x+2)+1", "y=(x+1)^2", "f(x)=x^2+2x+1", "x^{2}+2 x+1", "{(x+1)}^{2}"],
    r"\frac{\sqrt3}{3}": [r"\frac{1}{\sqrt3}", r"1/\sqrt{3}", r"\frac{\sqrt{3}}{3}", "3^{-1/2}", r"\frac13\sqrt3", r"\tan 30^\circ", r"\tan\frac{\pi}{6}", r"\sqrt{\frac{1}{3}}", r"\sqrt{3}/3"],
    r"\left( 3, \frac{\pi}{2} \right)": [r"(3,\pi/2)", r"(3, \frac{\pi}{2})", r"\left(3,\frac\pi2\right)", r"( 3 , 0.5\pi )", r"(3,\frac{1}{2}\pi)", r"r=3, \theta=\frac{\pi}{2}", r"(r,\theta) = (3, \frac{\pi}{2})"],
    "(1,2)": ["(1, 2)", r"\left(1,2\right)", "( 1 , 2 )", "(x,y)=(1,2)", "x=1, y=2", r"\begin{pmatrix}1\\2\end{pmatrix}", "(1.0, 2.0)", r"(\frac{2}{2}, 2)"],
    "[1,2)": ["[1, 2)", r"\left[1,2\right)", "[1.0,2.0)", r"1 \le x < 2", r"1\leq x<2", r"x \in [1,2)", r"\{x : 1 \le x < 2\}", r"2 > x \ge 1"],
    r"(-\infty, 3]": [r"(-\infty,3]", r"x \le 3", r"x\leq 3", r"3 \ge x", r"\left(-\infty, 3\right]", r"x \leqslant 3"],
    r"\{1,2,3\}": [r"\{3,1,2\}", "1,2,3", "3, 2, 1", r"1, 2, \text{ and } 3", "1, 2 and 3", r"\left\{1,2,3\right\}", "x=1,2,3", "x = 1, x = 2, x = 3", r"x \in \{1,2,3\}", r"\{1, 2, 3\}", "1;2;3"],
    "1,-2": ["-2,1", "1, -2", r"-2 \text{ and } 1", "-2 and 1", "x=1 or x=-2", r"x=1 \text{ or } x=-2", r"\{1,-2\}", "x_1 = 1, x_2 = -2", "-2, 1"],
    r"2 \pm \sqrt{3}": [r"2+\sqrt3, 2-\sqrt3", r"2 \pm \sqrt3", r"x = 2 \pm \sqrt{3}", r"\{2-\sqrt{3}, 2+\sqrt{3}\}"],
    "1234567": ["1,234,567", "1{,}234{,}567", r"1\,234\,567", "1 234 567", r"1\!,\!234\!,\!567", r"1,\!234,\!567", "1234567.0", r"1.234567 \times 10^6", "$1,234,567", r"\$1,234,567", r"1234567\text{ dollars}"],
    "12,345": ["12345", "12{,}345", r"12,\!345", "12 345", r"12\,345"],
    "1,234": ["1234", "1{,}234", r"1,\!234"],
    "5": ["5.0", "5.00", "+5", "05", r"\boxed{5}", "x=5", "x = 5", "5.", "five", r"5\text{ cm}", "5 cm", r"5~\text{cm}", r"5\ \mathrm{cm}", r"5\,\mathrm{cm}^2", r"5^\circ", r"5\degree", r"5 \text{ apples}", r"\$5", r"5\$", "5 dollars", r"\text{5}", r"\mathbf{5}", r"\sqrt{25}", "|{-5}|", r"\lfloor 5.7 \rfloor", r"\frac{10}{2}", "10/2", "2+3", "5!/(4!)", r"\binom{5}{1}", r"\log_2 32", "5 units", r"5 \%", r"5^{\circ}", r"\textbf{5}", r"\underline{5}", r"{\bf 5}", r"\color{red}{5}", r"5\quad", r"\displaystyle 5", r"\mathrm{5}", "x = 5 cm", "n=5", "x=2+3=5", "５", "5 m/s", r"5\text{ m/s}", r"5\text{ km/h}", r"5\text{ square units}", "5 square units", r"5\ \Omega", "5kg", "5 hours", "5_{10}", r"\ln e^5"],
    "-3": ["−3", "–3", "- 3", "(-3)", r"\left(-3\right)", "-3.0", r"-\frac{6}{2}", r"\frac{-6}{2}", r"\frac{6}{-2}", "x=-3", "-3.", "{-}3", "$-3$", r"-\sqrt{9}"],
    r"3\frac{1}{2}": ["3.5", "7/2", r"\frac72", r"3 \frac{1}{2}", "3 1/2", r"3\tfrac12", "3½", r"3+\frac12", r"350\%"],
    "7/2": [r"3\frac{1}{2}", "3.5", r"3 \frac12", "3 1/2", r"3\dfrac{1}{2}"],
    "3.5": [r"3\frac{1}{2}", "7/2", "3 1/2"],
    r"\frac{1}{3}": [r"0.\overline{3}", r"0.3\overline{3}", "0.333333", "1/3", r"33\frac{1}{3}\%", r"0.\bar{3}", r"0.\dot{3}", "0.333333333333", "⅓"],
    r"0.\overline{36}": [r"\frac{4}{11}", "4/11", "0.363636363636"],
    r"\pi": ["π", r"\pi", r"1\pi", r"\frac{2\pi}{2}", "3.14159265", r"180^\circ", "pi", r"\pi \text{ radians}"],
    r"\frac{3\pi}{4}": [r"3\pi/4", r"0.75\pi", r"\frac34\pi", r"\frac{3}{4}\pi", "3π/4", r"\frac{3 \pi}{4}", r"135^\circ"],
    r"\text{A}": ["A", "(A)", r"\text{(A)}", r"\textbf{A}", r"\mathrm{A}", r"\text{A.}", "A.", r"\textbf{(A)}", r"\text{A}"],
    "B": [r"\text{B}", "(B)", r"\textbf{(B)}", r"\text{(B)}", "B.", "b", "Option B", r"\text{Option B}", "(B) 5"],
    r"\text{Evelyn}": ["Evelyn", r"\text{Evelyn}", r"\mathrm{Evelyn}", r"\textbf{Evelyn}", r"\text{ Evelyn }", r"\text{evelyn}", r"\text{Evelyn.}"],
    "yes": [r"\text{yes}", r"\text{Yes}", "Yes", "yes.", r"\textbf{yes}"],
    r"\text{east}": ["east", r"\text{East}", r"\mathrm{east}", "East"],
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}": [r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\\\end{pmatrix}", r"\left(\begin{matrix}1&2\\3&4\end{matrix}\right)", r"\begin{pmatrix}1.0&\frac{4}{2}\\3&4\end{pmatrix}", r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)", r"\left[\begin{array}{rr}1&2\\3&4\end{array}\right]"],
    "x=5": ["5", "x=5", "5=x", "x = 5.0", r"x=\frac{10}{2}"],
    "y=2x+3": ["y = 2x + 3", "2x+3", "y=3+2x", "2x-y+3=0", "y-2x=3", "y - 3 = 2x"],
    "x^2+y^2=1": ["y^2+x^2=1", "x^2+y^2-1=0", "1=x^2+y^2", "2x^2+2y^2=2"],
    "2516_8": ["2516_8", "2516_{8}", "2516", r"2516_{\text{eight}}"],
    "1011_2": ["1011_2", "1011_{2}", "1011"],
    r"90^\circ": ["90", r"90^{\circ}", r"90\degree", r"90\text{ degrees}", "90 degrees", "90°", r"\frac{\pi}{2}"],
    r"10\%": ["10", "0.1", r"10\%", "10%", "10 percent", r"\frac{1}{10}", r"10\text{ percent}", r"10\text{\%}", r"10 \%"],
    r"\$32,\!348": ["32348", r"\$32,348", r"32,\!348", r"\$32348", "32,348", "32348 dollars", r"\$32{,}348.00"],
    "18.90": ["18.9", r"\$18.90", "18.90", r"\frac{189}{10}"],
    "3+4i": ["3+4i", "4i+3", "3 + 4i", r"3+4\mathrm{i}", r"3+4 \cdot i"],
    r"1 + i\sqrt{3}": [r"1+\sqrt{3}i", r"1+\sqrt3 i", r"2e^{i\pi/3}", r"2(\cos 60^\circ + i \sin 60^\circ)"],
    r"\infty": [r"\infty", r"+\infty", "infinity", "∞", "oo"],
    "10^{10}": ["10000000000", "10^10", r"1\times10^{10}", "10,000,000,000", "1e10"],
    "2^{100}": ["1267650600228229401496703205376", "4^{50}", r"2^{50}\cdot2^{50}", "1,267,650,600,228,229,401,496,703,205,376", "2^{99}+2^{99}"],
    r"11\sqrt2": [r"11\sqrt{2}", r"\sqrt{242}", r"11 \sqrt 2", "15.5563491861"],
    r"\frac{\sqrt{6}+\sqrt{2}}{4}": [r"\cos 15^\circ", r"\frac{\sqrt2+\sqrt6}{4}", r"\frac{\sqrt{2}(1+\sqrt3)}{4}", r"\frac{\sqrt{2+\sqrt{3}}}{2}"],
    r"\sin^2 x": [r"1-\cos^2 x", r"(\sin x)^2", r"\sin^2(x)", r"\frac{1-\cos 2x}{2}"],
    r"\log 2": [r"\log(2)", r"\log{2}", r"\log_{10} 2"],
    r"\ln 2": [r"\ln(2)", r"\log_e 2", r"\frac12 \ln 4", "0.693147180559945"],
    "120": ["5!", r"5\cdot4\cdot3\cdot2\cdot1", "120.0", r"\binom{10}{3}", "120 ways", r"120\text{ ways}", r"\sum_{n=1}^{15} n", "60+60", r"10 \times 12"],
    r"\frac{n(n+1)}{2}": [r"\frac{n^2+n}{2}", r"\frac12 n(n+1)", r"\binom{n+1}{2}", "n(n+1)/2", r"\sum_{k=1}^n k"],
    r"x \ge 5": [r"x \geq 5", r"5 \le x", r"[5,\infty)", r"x\geqslant5", r"x\in[5,\infty)"],
    r"x \neq 3": [r"x \ne 3", r"x\not=3", r"(-\infty,3)\cup(3,\infty)"],
    r"(-2,1)\cup(1,3)": [r"(-2,1) \cup (1,3)", r"(1,3)\cup(-2,1)", r"\left(-2,1\right)\cup\left(1,3\right)", r"x \in (-2,1)\cup(1,3)"],
    r"\emptyset": [r"\varnothing", r"\{\}", r"\emptyset"],
    "p - q": ["p-q", "-q+p", "-(q-p)"],
    r"\frac{a}{b}": ["a/b", "ab^{-1}", r"\frac{a}{b}", r"a \div b"],
    "6r^2-4r-24": ["6 r^2 - 4 r - 24", "2(3r^2-2r-12)", "-24-4r+6r^2"],
    r"70\sqrt{2}": [r"70\sqrt2", "98.9949493661"],
    "3:2": ["3:2", "3 : 2", r"\frac{3}{2}", "3/2", r"3\text{:}2"],
    "10:30": ["10:30"],
    r"12\text{ cm}^2": ["12", r"12 \text{ cm}^2", r"12\mathrm{cm}^2", "12 cm^2", r"12\ \text{cm}^{2}"],
    r"\frac43\pi r^3": [r"\frac{4\pi r^3}{3}", r"\frac{4}{3}\pi r^3", r"4\pi r^3/3"],
    r"\sqrt[3]{2}": ["2^{1/3}", r"2^{\frac13}", r"\sqrt[3]{2}", "1.25992104989"],
    "e^2": ["e^2", r"e\cdot e", r"\exp(2)", "7.38905609893", r"\mathrm{e}^2"],
    "f(x)=x+1": ["x+1", "f(x) = x + 1", "f(x)=1+x"],
    r"\mathbf{v} = \begin{pmatrix}1\\2\end{pmatrix}": [r"\begin{pmatrix}1\\2\end{pmatrix}"],
    r"1.5 \times 10^{-3}": ["0.0015", "1.5e-3", r"1.5\cdot10^{-3}", r"\frac{3}{2000}", "1.5*10^-3", r"0.15\%"],
    "0": ["0.0", "-0", r"\frac{0}{5}", "0", "x=0", "zero"],
    "1": ["1", r"0.\overline{9}", r"\frac{7}{7}", "1.000", r"\sin^2 x+\cos^2 x", r"100\%", "2^0", "-(-1)"],
    "25x^2-49": ["(5x-7)(5x+7)", "(5x)^2-7^2"],
    "A,B,C": ["A, B, C", r"\text{A, B, C}", "A,B, and C", "C,B,A"],
    "2:00 pm": ["2:00 pm", "2 p.m.", r"2{:}00\text{ P.M.}", r"2{:}00\text{ pm}"],
    r"\frac{3}{56}": [r"\dfrac{3}{56}", "3/56", "0.05357142857"],
    "C": ["(C)", r"\textbf{(C)}", r"\text{C}", "C"],
    "D": ["(D)", r"\text{(D)}", "D"],
    "E": ["(E)", r"\text{(E)}", "E"],
}  # fmt: skip
# The same, written after the rules had been found with those above, to see what else is missed.
MORE = {
    r"\frac{17}{4}": ["4.25", r"4\frac{1}{4}", r"\frac{-17}{-4}"],
    "0.125": [r"\frac18", r"12.5\%", "2^{-3}"],
    r"3\sqrt{5}": [r"\sqrt{45}", r"\frac{15}{\sqrt5}"],
    "x^3-8": ["(x-2)(x^2+2x+4)"],
    r"\frac{x}{x+1}": [r"1-\frac{1}{x+1}", "x/(x+1)"],
    "2x-5y=10": [r"y=\frac{2x-10}{5}", "4x-10y=20"],
    "(4,-2)": [r"\left(4,\,-2\right)", r"x=4,\ y=-2"],
    r"(-\infty,-1)\cup(2,\infty)": [r"x<-1 \text{ or } x>2", r"(2,\infty)\cup(-\infty,-1)"],
    "[-2,2]": [r"-2\leq x\leq 2", r"|x| \le 2"],
    r"\{-3,0,3\}": [r"x=0,\pm3", "0, 3, -3"],
    "4500": [r"\$4{,}500", r"4,500 \text{ dollars}", r"4.5\times10^3", "4500.00", "4500 USD", "€4500"],
    "72": [r"72^\circ", r"72 \text{ km/h}", "72 mph", r"72\,\text{cm}^3", r"\mathbf{72}", r"\fbox{72}"],
    r"\frac{2\pi}{3}": [r"120^\circ", r"\frac{2}{3}\pi", r"2\pi/3 \text{ rad}"],
    "2+3i": ["3i+2", r"2 + 3\mathrm i"],
    "-i": [r"\frac{1}{i}", "i^3"],
    r"\sqrt2 e^{i\pi/4}": ["1+i"],
    r"\log_2 3": [r"\frac{\ln 3}{\ln 2}", r"\frac{\log 3}{\log 2}"],
    "e^{2x}": ["(e^x)^2"],
    r"\cos 2x": [r"2\cos^2 x-1", r"1-2\sin^2 x"],
    r"\tan x": [r"\frac{\sin x}{\cos x}"],
    "210": [r"\binom{10}{4}", r"{10 \choose 4}", r"\frac{10!}{4!6!}"],
    "24": ["4!"],
    r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}": [r"\begin{bmatrix} 1 \\ -2 \end{bmatrix}", "(1,-2)", r"\langle 1,-2 \rangle", "(1,-2)^T"],
    "7:5": [r"\frac{7}{5}", "7 to 5"],
    "Monday": [r"\text{Monday}", "monday"],
    "true": [r"\text{True}"],
    r"\text{(C)}": ["C", r"\mathrm{(C)}", r"\text{C) } 12"],
    "AB": ["AB"],
    r"\angle ABC = 40^\circ": ["40"],
    r"0.1\overline{6}": [r"\frac16", "1/6"],
    "1.2": ["1.20", r"\frac65", "120%", r"1\frac15"],
    "10^{-3}": ["0.001", r"\frac{1}{1000}"],
    "2^{2024}-1": ["4^{1012}-1", "-1+2^{2024}"],
    r"\frac{1}{2}\ln 5": [r"\ln\sqrt5"],
    r"2\sqrt{x}": ["2x^{1/2}"],
    r"\frac{3}{x^2}": ["3x^{-2}"],
    "n^2+n": ["n(n+1)"],
    "a_n=2n+1": ["2n+1"],
    "k>4": [r"k \in (4,\infty)", "4<k", r"k \gt 4"],
    "6": [r"\underline{\underline{6}}", r"6\checkmark", r"\approx 6", r"6\text{th}", r"6\,\mathrm{m\,s^{-1}}", r"\left|{-6}\right|", r"\lceil 5.2\rceil", r"\gcd(12,18)", r"\max(2,6)", r"\sqrt[3]{216}"],
    r"\frac{5}{9}": ["0.5555555", "0.555...", r"\frac{5}{9}\approx0.556", "5:9"],
    r"x=\frac{-1\pm\sqrt5}{2}": [r"\frac{-1+\sqrt5}{2},\frac{-1-\sqrt5}{2}", r"x=-\frac12\pm\frac{\sqrt5}{2}"],
}  # fmt: skip
# A gold answer, and one that looks like it.
OTHER = [
    ("x<-1 or x>2", "x<-1 or x>3"), (r"2 \pm 1", r"1 \pm 2"), ("7:5", "5 to 7"), ("0.5", "0.555..."), ("(1,-2)", r"\langle -2,1 \rangle"),
    (r"x<-1 \text{ or } x>2", r"x \le -1 \text{ or } x>2"), (r"\frac{1 \pm \sqrt5}{2}", r"\frac{1+\sqrt5}{2}"),
    ("2:00 pm", "3:00 pm"), ("2:00 pm", "2:00 am"), ("3 1/2", "31/2"), ("1/2", "2/1"),
    ("5t", "5"), ("2h", "2"), ("3m", "3"), ("7s", "7"), ("4x", "4"), ("0.00000001", "0"), (r"1.5\times10^{-8}", "0.0000000001"),
    ("x=5", "y=5"), ("(1,2)", "[1,2]"), ("[1,2)", "(1,2)"), ("1,2", "12"), ("12", "1,2"), ("0.5", "50"), ("A", "B"),
    ("A", "(B) A"), (r"\pi", "3.14"), (r"\frac13", "0.33"), ("2^{100}", "2^{101}"), ("x>3", "x<3"), ("1", "-1"),
    ("3+4i", "3-4i"), (r"\{1,2\}", r"\{1,2,3\}"), ("1011_2", "1101_2"), (r"90^\circ", r"180^\circ"), (r"90^\circ", r"\pi"),
    (r"3\frac12", "31/2"), (r"3\frac12", "3/2"), ("3.5", "35"), ("1234", "1,23,4"), ("1234", "1.234"),
    (r"\frac{1}{3}", r"0.\overline{34}"), ("1e10", "10"), ("5", "5,5.1"), ("5", "5 or 6"), ("-3", "3"),
    ("4", r"\text{four hundred}"), (r"\text{east}", "west"), ("yes", "no"), (r"\sqrt8", "2.8"), ("10^{10}", "10^{11}"),
    (r"\infty", "1"), (r"\infty", r"-\infty"), ("5", "$5x$"), ("2x", "2"), ("x^2", "x^3"), ("y=2x+3", "y=2x-3"),
    ("(x+1)^2", "x^2+1"), ("3:2", "2:3"), ("5 m/s", "6 m/s"), ("12 cm^2", "13 cm^2"), ("1 234", "1 235"), ("0", ""), ("0", "x"),
    (r"(1,2)\cup(3,4)", "(1,4)"), (r"\emptyset", "0"), ("5!", "5"), ("C", "D"), ("0.1", "0.01"), ("1000000", "1000001"),
    ("1", "0.999"), ("1", "0.9999999"), ("10000000000000000", "10000000000000001"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\4&3\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"), ("10:30", "10:45"), ("2e-3", "2"),
    ("5", r"5^{\circ}C 6"), ("x = 1, y = 2", "x=2, y=1"), (r"1 \le x < 2", "1 < x < 2"), ("1", "1.0000004"),
    ("(0,1)", r"\{0,1\}"), (r"\{0,1\}", "[0,1]"), ("Evelyn", "Eve"), ("2", r"2\pi"), ("e", "2.72"), (r"\sin x", r"\cos x"),
    ("p", "q"), ("n", "2n"), ("3", "3i"), ("6", "six hundred"), ("5 dollars", "5 apples and 6"),
]  # fmt: skip


def box(text: str) -> str:
    """As the answer at the end of a solution."""
    return f"So the answer is $\\boxed{{{text}}}$."


def nested(start: str, end: str, depth: int, core: str = "5") -> str:
    """``core`` within ``depth`` layers."""
    return start * depth + core + end * depth


def written_otherwise() -> list[tuple[str, str, str, bool | None]]:
    """Right answers in other words, in a box, between dollar signs and bare; and wrong ones that look right."""
    right = [
        (f"same, {how}", gold, text.replace("%s", form), True)
        for gold, forms in (*SAME.items(), *MORE.items())
        for form in forms
        for how, text in (("boxed", box("%s")), ("in a formula", "The answer is $%s$."), ("bare", "%s"))
    ]
    return [*right, *(("other, boxed", gold, box(form), False) for gold, form in OTHER)]


def pathological() -> list[tuple[str, str, str, bool | None]]:
    """What hangs, floods or confuses a reader of mathematics; about 280 cases."""
    return [(kind, g, o, t) for kind, make in MAKERS.items() for g, o, t in make()]


def towers() -> list[tuple[str, str, bool | None]]:
    tower = {(b, d): "^{".join([b] * d) + "}" * (d - 1) for b in ("3", "7", "9", "10") for d in (3, 4, 6, 12)}
    found: list[tuple[str, str, bool | None]] = [("5", box(t), False) for t in tower.values()]
    found += [(t, box(t), True) for t in tower.values()]
    found += [("2^{10^{12}}", box(r"4^{5 \cdot 10^{11}}"), True), ("5", box("2^{10^{12}}"), False), ("5", "9**9**9**9", False)]
    found += [("5", f"It is 9^9^9^9^{k}.", False) for k in range(3, 6)]
    return [*found, (r"10^{10^{10}}", box("10^{10^{10}} + 1"), False), ("5", box(r"\sqrt{10^{10^{10}}}"), False)]


def factorials() -> list[tuple[str, str, bool | None]]:
    wrong = [
        "(10^5)!",
        "(10^7)!",
        "(10^{20})!",
        "3!!!!!",
        "170!",
        "(((5!)!)!)!",
        r"\binom{10^6}{5 \cdot 10^5}",
        r"\binom{10^{12}}{10^{11}}",
    ]
    right = [
        ("1000", r"\frac{1000!}{999!}"),
        ("120", "5!"),
        ("10^6", r"\frac{(10^6)!}{(10^6-1)!}"),
        ("2598960", r"\binom{52}{5}"),
    ]
    return [*(("5", box(w), False) for w in wrong), *((g, box(r), True) for g, r in right)]


def long_numbers() -> list[tuple[str, str, bool | None]]:
    found: list[tuple[str, str, bool | None]] = []
    for n in (100, 1000, 4301, 10_000, 100_000):
        digits = ("1234567890" * (n // 10 + 1))[:n]
        found += [(digits, box(digits), True), (digits, box(digits[:-1] + "x"), None), (digits, box("9" + digits[1:]), False)]
        found += [("0." + digits, box("0." + digits), True), ("0." + digits, box("0.2" + digits[1:]), False)]
        found += [(digits, box(digits + ".0"), True), ("5", box("5." + "0" * n), True), ("5", box("0" * n + "5"), True)]
        found += [(r"\frac{1}{3}", box("0." + "3" * n), True), ("5", box("5" + "0" * n), False)]
    return found


def nesting() -> list[tuple[str, str, bool | None]]:
    layers = [("{", "}"), ("(", ")"), (r"\left(", r"\right)"), (r"\frac{", "}{1}"), (r"\text{", "}"), (r"\sqrt{", "}"), ("|", "|"),
              (r"\boxed{", "}"), (r"{\bf ", "}"), ("-(-", ")"), (r"\frac{1}{", "}"), (r"\begin{pmatrix}", r"\end{pmatrix}"), ("x^{", "}")]  # fmt: skip
    same = {"{", "(", r"\left(", r"\frac{", r"\boxed{", r"{\bf ", "-(-"}  # 5 remains 5 within these
    found: list[tuple[str, str, bool | None]] = []
    for start, end in layers:
        for depth in (2, 40, 1000, 20_000):
            even = start == r"\frac{1}{" and depth % 2 == 0
            found.append(
                (
                    "5",
                    box(nested(start, end, depth)),
                    True if start in same or even else None if start in ("|", r"\text{") else False,
                )
            )
    return found


def unclosed() -> list[tuple[str, str, bool | None]]:
    texts = [r"\boxed{5", r"\boxed{" * 200, r"\boxed{" * 200 + "5", "$5", r"\(5", r"\[5", r"\boxed", r"\boxed{}", r"\boxed{{}", r"\frac{5", "}" * 500,
             r"\boxed{5\}", r"\begin{pmatrix}5", r"\left(5", r"\boxed{\frac{5}{1}", "####", "#### ", "#### 5 ####", r"\fbox{", r"\boxed 5"]  # fmt: skip
    right = [r"\boxed{\boxed{5}", r"\boxed{5}}}}}", r"\boxed{4 and \boxed{5}", r"\boxed{5}\boxed{", r"{{{{\boxed{5}"]
    return [*(("5", t, None) for t in texts), *(("5", t, True) for t in right)]


def megabytes() -> list[tuple[str, str, bool | None]]:
    million = 1_000_000
    right = ["a" * million + box("5"), box("5") + "a" * million, "no " * 300_000 + box("5"), r"first \boxed{4}, no: " * 40_000 + box("5"),
             "$x$ " * 200_000 + box("5"), "\n" * million + box("5"), "7 + " * 200_000 + "#### 5", "{" * million + "#### 5", box("5" + " " * million)]  # fmt: skip
    wrong = ["a" * million, "$" * million, "{" * million, "\\" * million, "7 " * 400_000, box("1+" * 400_000 + "1"), "(" * million, "=" * million,
             box("x" * million), "-" * million, "x=" * 400_000 + "7", box("7," * 300_000 + "7"), "answer " * 150_000, "final answer is " * 60_000]  # fmt: skip
    return [*(("5", t, True) for t in right), *(("5", t, False) for t in wrong)]


def series() -> list[tuple[str, str, bool | None]]:
    right = [(r"\frac{\pi^2}{6}", r"\sum_{n=1}^{\infty} \frac{1}{n^2}"), ("1", r"\sum_{n=1}^{\infty} 2^{-n}"), (r"\frac13", r"\int_0^1 x^2 \, dx"),
             ("1", r"\lim_{x \to 0} \frac{\sin x}{x}"), ("55", r"\sum_{k=1}^{10} k"), ("120", r"\prod_{k=1}^{5} k"),
             ("500000000500000000", r"\sum_{n=1}^{1000000000} n")]  # fmt: skip
    wrong = [r"\sum_{n=1}^{\infty} n", r"\prod_{n=1}^{1000000} n", r"\sum_{n=1}^{10^9} \frac{1}{n}", r"\int_0^1 e^{-x^x} \, dx", r"\int \sin(\sin(\sin x)) \, dx",
             r"\sum_{n=1}^{\infty} \frac{(-1)^n}{n^{n}}", r"\prod_{p} \frac{1}{1-p^{-2}}", r"\lim_{n \to \infty} n^n", r"\sum_{i=1}^{100000} \sin(i^i)",
             r"\int_0^{\infty} \int_0^{\infty} \int_0^{\infty} e^{-xyz} \, dx \, dy \, dz", r"\lim_{x \to 0} \sin \frac{1}{x}", r"\frac{d^{50}}{dx^{50}} \tan x"]  # fmt: skip
    return [*((g, box(r), True) for g, r in right), *(("5", box(w), False) for w in wrong)]


def slow_algebra() -> list[tuple[str, str, bool | None]]:
    radical = "2"
    for _ in range(20):
        radical = rf"\sqrt{{2+{radical}}}"
    up, down = ("".join(f"(x-{k})" for k in order) for order in (range(1, 41), range(40, 0, -1)))
    terms = [rf"\sin({k}x)\cos({k + 1}x)" for k in range(1, 30)]
    right = [("(x+1)^{200}", "(1+x)^{200}"), ("(a+b+c+d)^{40}", "(d+c+b+a)^{40}"), (r"\sqrt2+\sqrt3", r"\sqrt{5+2\sqrt6}"), (up, down), ("2", radical),
             ("+".join(terms), "+".join(terms[::-1])), (r"\frac12", r"\cos\frac{\pi}{7}-\cos\frac{2\pi}{7}+\cos\frac{3\pi}{7}"), ("-2", r"\sqrt[3]{-8}"),
             (r"(\sqrt2+1)^{20}", r"\frac{1}{(\sqrt2-1)^{20}}"), (r"\frac{x^{50}-1}{x-1}", "+".join(f"x^{{{k}}}" for k in range(50)))]  # fmt: skip
    wrong = [radical + r"+\pi", "(a+b+c+d+e)^{60}", "+".join(terms), r"\sin" * 30 + " x", nested(r"\sin(", ")", 60, "x"), nested(r"\ln(", ")", 60, "7"),
             "*".join(f"(x^{k}+{k})^{k}" for k in range(2, 40)), r"x^{1000000}+1", r"(x+y)^{5000}", r"\sqrt[10^{10}]{7}", r"7^{\pi^{7^{\pi}}}"]  # fmt: skip
    return [*((g, box(r), True) for g, r in right), *(("5", box(w), False) for w in wrong)]


def collections() -> list[tuple[str, str, bool | None]]:
    def matrix(n: int, by: int = 1) -> str:
        return r"\begin{pmatrix}" + r"\\".join("&".join(str(by * (i + j)) for j in range(n)) for i in range(n)) + r"\end{pmatrix}"

    up, down = (r"\{" + ", ".join(map(str, order)) + r"\}" for order in (range(300), range(299, -1, -1)))
    unions = r"\cup".join(f"({2 * k},{2 * k + 1})" for k in range(30))
    right = [
        (matrix(3), matrix(3)),
        (matrix(30), matrix(30)),
        (up, down),
        (unions, unions),
        (r"(-\infty,\infty)", r"(-\infty, \infty)"),
    ]
    texts = [matrix(30, 7), up, unions, r"\begin{pmatrix}1&2\\3\end{pmatrix}", r"\begin{pmatrix}\end{pmatrix}", r"\{\}", "()", "[7,1]", r"\{1,\ldots,10^9\}",
             r"\det" + matrix(8, 3), matrix(9, 7) + "^{1000}", "(" + "7," * 2000 + "7)", r"\emptyset", r"\mathbb{R}", r"\mathbb{N}^{\mathbb{N}}"]  # fmt: skip
    return [*((g, box(r), True) for g, r in right), *(("5", box(t), False) for t in texts)]


def signs() -> list[tuple[str, str, bool | None]]:
    right = ["\u202e5", "5\u200b", "\ufeff5", "\u200f5\u200f", "５", "5\u00a0", "\u20095"]
    odd = [
        "5\x00",
        "\x005",
        "\ud800",
        "5\ud800",
        "٥",
        "五",
        "Ⅴ",
        "⑤",
        "🙂",
        "5\u0301",
        "\x1b[31m5",
        "\b5",
        "\x7f",
        "\uffff",
        "5\r",
        "\u2028" + "5",
    ]
    return [
        *(("5", box(t), True) for t in right),
        *(("5", box(t), None) for t in odd),
        ("5", "\x00" * 5000, False),
        ("5", "\ud800" * 5000, False),
    ]


def programs() -> list[tuple[str, str, bool | None]]:
    texts = [r"\def\a{\a\a}\a", r"\newcommand{\x}{\x\x}\x", r"\loop\iftrue\repeat", r"\input{/etc/passwd}", r"\write18{true}", r"\csname x\endcsname",
             r"\expandafter\relax", r"\catcode`\{=12", r"\let\boxed\relax 7", "__import__('os').getpid()", "().__class__.__mro__", "exec('1')", "lambda: 0",
             "[0 for _ in range(10**9)]", "print(7)", "import os", "sympy.factorial(10**9)", "Integral(x**x, x)", "eval('7')", "{{7*7}}", "${7*7}", "'; DROP TABLE",
             "<script>", "%s%s%s%n", "\\x00", "f'{7}'", "open('/dev/zero').read()", "yield", "raise SystemExit", "os._exit(0)"]  # fmt: skip
    return [("5", how(t), False) for t in texts for how in (box, str)]


def no_number() -> list[tuple[str, str, bool | None]]:
    texts = ["nan", "NaN", "inf", r"\infty-\infty", r"\frac00", r"\frac10", "0^0", r"\frac{\infty}{\infty}", r"\log 0", r"\tan 90^\circ", r"\sqrt{-1}", "undefined",
             r"\text{DNE}", r"\arcsin 2", "1/0", "0/0", r"\zeta(1)", r"\Gamma(0)", "-", "+", "=", "?", ".", r"\%", r"\$", "^", "_", "&", "#", "~", "x", "i", "e"]  # fmt: skip
    return [("5", box(t), False) for t in texts]


def several() -> list[tuple[str, str, bool | None]]:
    wrong = [box("5 or 6"), r"\boxed{5} or \boxed{6}", box(",".join(map(str, range(1, 500)))), box(r"5, \ldots"), r"\boxed{4}, \boxed{5}", box("4<x<6"),
             box(r"5 \pm 1"), box("5 < 6"), box("=".join(map(str, range(1, 200)))), box(r"x \in \mathbb{R}"), r"\boxed{5} no, \boxed{7}", box("x=5, x=7")]  # fmt: skip
    right = [
        r"\boxed{5}, \boxed{5}",
        box("=".join(["5"] * 100)),
        box("x=2+3=5"),
        r"\boxed{7} no, \boxed{5}",
        r"\boxed{5} and so $\boxed{5}$",
    ]
    return [*(("5", t, False) for t in wrong), *(("5", t, True) for t in right)]


def golds() -> list[tuple[str, str, bool | None]]:
    texts = [
        "",
        r"\frac{",
        "???",
        r"\boxed{",
        "(" * 5000,
        "9**9**9**9",
        "10^{10^{10}}",
        r"\def\a{\a\a}\a",
        "\x00",
        "\ud800",
        "a" * 100_000,
        "nan",
        r"\frac10",
    ]
    return [(t, box("5"), None if t != "10^{10^{10}}" else False) for t in texts]


MAKERS = {
    "towers": towers, "factorials": factorials, "long numbers": long_numbers, "nesting": nesting, "unclosed": unclosed, "megabytes": megabytes,
    "series": series, "slow algebra": slow_algebra, "collections": collections, "signs": signs, "programs": programs, "no number": no_number,
    "several": several, "golds": golds,
}  # fmt: skip
