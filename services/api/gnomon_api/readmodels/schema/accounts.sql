-- Accounts as their newest event tells them.
create table accounts (
    user_id            text primary key,
    account_id         text        not null,
    tier               text        not null,
    limits             json        not null,  -- of its own; what is left out is the tier's
    calendar_reminders boolean     not null,
    credited           bigint      not null,  -- millionths of a credit, given so far
    version            integer     not null,
    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    seq                bigint      not null,
    closed             boolean     not null default false,  -- the user may make and run nothing
    closed_note        text
);

-- Credits, double entry: the amounts of one matter (an event, `seq`) add up to zero.
create table credit_entries (
    seq          bigint      not null,
    leg          integer     not null,
    at           timestamptz not null,
    book         text        not null,  -- user, or where it comes from or goes: opening topup grant adjustment consumption
    user_id      text        not null,
    amount       bigint      not null,  -- millionths of a credit
    kind         text        not null,  -- opening topup grant adjustment consumption
    execution_id text,
    command_id   text,
    note         text,
    reference    text,
    primary key (seq, leg)
);
create index credit_entries_by_user on credit_entries (user_id, seq desc) where book = 'user';

-- Sums of the entries of users, kept along.
create table credit_balances (
    user_id  text primary key,
    balance  bigint not null,  -- millionths of a credit
    consumed bigint not null,
    entries  bigint not null
);
