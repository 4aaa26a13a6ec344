import { EventEmitter } from "node:events";
import { readFile } from "node:fs/promises";

/** How many of an article there are, and what one of them costs. */
export interface StockItem {
  sku: string;
  title: string;
  quantity: number;
  priceInCents: number;
  tags?: readonly string[];
}

export type Change =
  | { kind: "received"; sku: string; quantity: number }
  | { kind: "sold"; sku: string; quantity: number; orderId: string }
  | { kind: "corrected"; sku: string; quantity: number; reason: string };

/** Thrown when more is sold than there is. */
export class OutOfStockError extends Error {
  constructor(
    readonly sku: string,
    readonly wanted: number,
    readonly available: number,
  ) {
    super(`${wanted} of ${sku} wanted, only ${available} available`);
    this.name = "OutOfStockError";
  }
}

const LOW_STOCK_QUERY = `
  SELECT sku, title, quantity
  FROM stock
  WHERE quantity < $1
  ORDER BY quantity
`;

/**
 * The stock of one warehouse, kept in memory.
 *
 * Every change is written to a journal first, so that the stock can be rebuilt
 * by replaying it. Emits `low` when an article falls below its threshold.
 */
export class Inventory extends EventEmitter {
  private readonly items = new Map<string, StockItem>();
  private readonly journal: Change[] = [];

  constructor(private readonly lowThreshold = 5) {
    super();
  }

  /**
   * Apply a change.
   *
   * @param change - what happened
   * @returns the item after the change
   * @throws OutOfStockError when more is sold than there is
   */
  apply(change: Change): StockItem {
    const item = this.find(change.sku);
    const quantity = this.quantityAfter(item, change);
    const updated = { ...item, quantity };
    this.journal.push(change);
    this.items.set(change.sku, updated);
    if (quantity < this.lowThreshold) {
      this.emit("low", updated);
    }
    return updated;
  }

  private quantityAfter(item: StockItem, change: Change): number {
    switch (change.kind) {
      case "received":
        return item.quantity + change.quantity;
      case "sold":
        if (change.quantity > item.quantity) {
          throw new OutOfStockError(item.sku, change.quantity, item.quantity);
        }
        return item.quantity - change.quantity;
      case "corrected":
        return change.quantity;
    }
  }

  find(sku: string): StockItem {
    const item = this.items.get(sku);
    if (item === undefined) {
      throw new RangeError(`There is no article ${sku}`);
    }
    return item;
  }

  add(item: StockItem): void {
    this.items.set(item.sku, { ...item, tags: item.tags ?? [] });
  }

  /** The worth of everything in stock, in cents. */
  get worth(): number {
    let total = 0;
    for (const { quantity, priceInCents } of this.items.values()) {
      total += quantity * priceInCents;
    }
    return total;
  }

  async load(path: string): Promise<number> {
    const lines = (await readFile(path, "utf8")).split("\n").filter((line) => line.trim() !== "");
    const items = lines.map((line): StockItem => JSON.parse(line));
    items.forEach((item) => this.add(item));
    return items.length;
  }

  async findLow(query: (sql: string, values: unknown[]) => Promise<StockItem[]>): Promise<string> {
    const rows = await query(LOW_STOCK_QUERY, [this.lowThreshold]);
    return rows.map(({ title, quantity }) => `${title}: ${quantity} left`).join("\n");
  }
}
