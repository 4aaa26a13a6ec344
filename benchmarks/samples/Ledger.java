package org.example.ledger;

import java.math.BigDecimal;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;

/**
 * A double-entry ledger.
 *
 * <p>Every transfer takes an amount from one account and gives it to another, so that the sum of all balances is
 * always zero. The ledger is not safe for use from several threads.
 */
public final class Ledger {

    /** One transfer, as it was booked. */
    public record Entry(Instant time, String from, String to, BigDecimal amount, String purpose) {
        public Entry {
            Objects.requireNonNull(time, "time");
            if (amount.signum() <= 0) {
                throw new IllegalArgumentException("An amount must be positive, not " + amount);
            }
        }
    }

    private static final String INSERT = """
            INSERT INTO entries (time, debit, credit, amount, purpose)
            VALUES (?, ?, ?, ?, ?)
            ON CONFLICT DO NOTHING
            """;

    private static final String CASH = "cash";

    private final List<Entry> entries = new ArrayList<>();
    private final Map<String, BigDecimal> balances = new TreeMap<>();
    private final BigDecimal overdraft;

    /**
     * Creates an empty ledger.
     *
     * @param overdraft how far below zero an account may fall
     */
    public Ledger(BigDecimal overdraft) {
        this.overdraft = overdraft;
    }

    /**
     * Books a transfer.
     *
     * @param from the account that pays
     * @param to the account that is paid
     * @param amount how much, above zero
     * @param purpose what for, may be empty
     * @return the entry
     * @throws IllegalStateException when the account that pays has too little
     */
    public Entry transfer(String from, String to, BigDecimal amount, String purpose) {
        BigDecimal left = balance(from).subtract(amount);
        if (!from.equals(CASH) && left.compareTo(overdraft.negate()) < 0) {
            throw new IllegalStateException(
                    String.format("%s has %s, which is too little for %s", from, balance(from), amount));
        }
        Entry entry = new Entry(Instant.now(), from, to, amount, purpose);
        entries.add(entry);
        balances.put(from, left);
        balances.merge(to, amount, BigDecimal::add);
        return entry;
    }

    /** The balance of an account; zero for one that was never used. */
    public BigDecimal balance(String account) {
        return balances.getOrDefault(account, BigDecimal.ZERO);
    }

    /** All entries of an account, the oldest first. */
    public List<Entry> statement(String account) {
        return entries.stream()
                .filter(entry -> entry.from().equals(account) || entry.to().equals(account))
                .toList();
    }

    /** Whether debits and credits are equal, as they must be. */
    public boolean isBalanced() {
        BigDecimal sum = BigDecimal.ZERO;
        for (BigDecimal balance : balances.values()) {
            sum = sum.add(balance);
        }
        return sum.signum() == 0;
    }

    /* The statement that writes an entry to the database. */
    String insertStatement() {
        return INSERT;
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        balances.forEach((account, balance) -> text.append(account).append(": ").append(balance).append('\n'));
        return text.toString();
    }
}
