-- migrate:up
-- An address and a network take only a share of a company's bot answers and new conversations.
set local role neurant_owner;

create function private.visitor_shares(p_company uuid, p_address text, p_network text)
returns table (dimension text, answers double precision, conversations integer,
  answers_key text, conversations_key text)
language sql stable set search_path = '' as $$
  select s.dimension,
    case when c.monthly_message_limit <> -1
      then greatest(30, c.monthly_message_limit * s.of_answers) end,
    greatest(s.fewest,
      floor(coalesce(c.visitor_conversations_per_hour, p.visitor_conversations_per_hour)
        * s.of_conversations))::integer,
    concat_ws('|', 'answers', s.dimension, s.value, c.id),
    concat_ws('|', 'conversations', s.dimension, s.value, c.id)
  from public.companies c
  join public.plans p on p.plan = c.subscription_plan
  cross join (values
    ('address', p_address, 0.1, 0.25, 3),
    ('network', p_network, 0.25, 0.5, 6)
  ) s (dimension, value, of_answers, of_conversations, fewest)
  where c.id = p_company
$$;
comment on function private.visitor_shares(uuid, text, text) is
  'What a visitor''s address and network may take of a company: bot answers at once, which come back within a day (null: the plan is unlimited), and new conversations in any hour. The reasons for the numbers: docs/decisions/0013.';

create function private.visitor_answer_keys(p_company uuid, p_address text, p_network text)
returns table (key bytea, dimension text, most double precision, refill double precision)
language sql stable set search_path = '' as $$
  select sha256(convert_to(s.answers_key, 'UTF8')), s.dimension, s.answers, s.answers / 86400
  from private.visitor_shares(p_company, p_address, p_network) s
  where s.answers is not null
$$;
comment on function private.visitor_answer_keys(uuid, text, text) is
  'The keys in visitor_allowances of a visitor''s shares of bot answers, with the most at once and what comes back each second.';

create function private.visitor_answer_wait(p_company uuid, p_address text, p_network text,
  p_now timestamptz, out held_by text, out wait_seconds double precision)
language sql stable set search_path = '' as $$
  select u.dimension, (u.used + 1 - u.most) / u.refill
  from (
    select k.dimension, k.most, k.refill,
      coalesce(greatest(extract(epoch from a.used_until - p_now), 0), 0) * k.refill as used
    from private.visitor_answer_keys(p_company, p_address, p_network) k
    left join public.visitor_allowances a on a.key_digest = k.key) u
  where u.used + 1 > u.most
  order by 2 desc
  limit 1
$$;
comment on function private.visitor_answer_wait(uuid, text, text, timestamptz) is
  'The share of bot answers that is used up and the seconds until it has room for one more; null where there is room.';

create function private.take_visitor_answer(p_company uuid, p_address text, p_network text,
  p_now timestamptz) returns void
language sql volatile set search_path = '' as $$
  insert into public.visitor_allowances as a (key_digest, used_until)
  select k.key, p_now + interval '1 second' / k.refill
  from private.visitor_answer_keys(p_company, p_address, p_network) k
  order by k.key
  on conflict (key_digest) do update
  set used_until = greatest(a.used_until, p_now) + (excluded.used_until - p_now)
$$;
comment on function private.take_visitor_answer(uuid, text, text, timestamptz) is
  'Counts one bot answer for the shares of a visitor''s address and network.';

create function private.visitor_conversation_share(p_company uuid, p_address text, p_network text,
  p_now timestamptz, out slots bytea[], out held_by text, out wait_seconds double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_share record;
  v_slot bytea;
begin
  -- A share of n conversations an hour has n slots. A conversation occupies one for an hour.
  for v_share in
    select s.dimension, s.conversations, s.conversations_key
    from private.visitor_shares(p_company, p_address, p_network) s
    order by s.dimension
  loop
    -- A row for each slot by the primary key; the search ends at the first free slot.
    select k.key into v_slot
    from (
      select sha256(convert_to(v_share.conversations_key || '|' || n, 'UTF8')) as key
      from generate_series(1, v_share.conversations) n) k
    where not exists (
      select from public.visitor_allowances a where a.key_digest = k.key and a.used_until > p_now)
    limit 1;
    if not found then
      held_by := v_share.dimension;
      select extract(epoch from min(a.used_until) - p_now) into wait_seconds
      from generate_series(1, v_share.conversations) n
      join public.visitor_allowances a
        on a.key_digest = sha256(convert_to(v_share.conversations_key || '|' || n, 'UTF8'));
      return;
    end if;
    slots := slots || v_slot;
  end loop;
end $$;
comment on function private.visitor_conversation_share(uuid, text, text, timestamptz) is
  'A free slot in each share of new conversations of a visitor''s address and network, or the share that has none (held_by) and the seconds until it has one.';

grant execute on function private.visitor_shares(uuid, text, text),
  private.visitor_answer_keys(uuid, text, text),
  private.visitor_answer_wait(uuid, text, text, timestamptz),
  private.take_visitor_answer(uuid, text, text, timestamptz),
  private.visitor_conversation_share(uuid, text, text, timestamptz) to neurant_router;

-- The caller holds the lock on the company's message allowance, so that its visitors are counted
-- one after another.
create function private.admit_visitor_message(p_company uuid, p_account uuid, p_session uuid,
  p_conversation_at timestamptz, p_address text, p_network text,
  out outcome text, out held_by text, out wait_seconds double precision)
language plpgsql volatile set search_path = '' as $$
declare
  v_now timestamptz := clock_timestamp();
  v_with_person boolean;
  v_share record;
begin
  select c.is_hitl_active into v_with_person
  from public.conversations c
  where c.company_id = p_company and c.channel_account_id = p_account
    and c.end_user_id = p_session::text and c.status = 'active';
  -- A person's answers cost nothing of the month.
  if v_with_person then
    outcome := 'taken';
    return;
  end if;
  select w.held_by, w.wait_seconds into held_by, wait_seconds
  from private.visitor_answer_wait(p_company, p_address, p_network, v_now) w;
  if held_by is not null then
    outcome := 'share';
    return;
  end if;
  if v_with_person is null
    and (p_conversation_at is null or p_conversation_at <= v_now - interval '1 hour')
  then
    v_share := private.visitor_conversation_share(p_company, p_address, p_network, v_now);
    if v_share.held_by is not null then
      outcome := 'share';
      held_by := v_share.held_by;
      wait_seconds := v_share.wait_seconds;
      return;
    end if;
    wait_seconds := private.begin_visitor_conversation(p_company, p_session, v_now);
    if wait_seconds > 0 then
      outcome := 'full';
      return;
    end if;
    insert into public.visitor_allowances as a (key_digest, used_until)
    select s.key, v_now + interval '1 hour' from unnest(v_share.slots) s (key) order by s.key
    on conflict (key_digest) do update set used_until = excluded.used_until;
  end if;
  perform private.take_visitor_answer(p_company, p_address, p_network, v_now);
  outcome := 'taken';
end $$;
comment on function private.admit_visitor_message(uuid, uuid, uuid, timestamptz, text, text) is
  'Counts a visitor''s message against what the company gives: taken, share (the address or network, held_by, used its share of the bot answers or of the new conversations) or full (the company takes no more new conversations in this hour). A refused message takes nothing.';
grant execute on function
  private.admit_visitor_message(uuid, uuid, uuid, timestamptz, text, text) to neurant_router;

reset role;
create or replace function private.admit_visitor(p_action text, p_routing_id text, p_token_digest bytea,
  p_cost double precision, p_address text, p_network text)
returns table (outcome text, held_by text, wait_seconds double precision, held_for double precision, company_id uuid)
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_session record;
  v_taken record;
  v_message record;
begin
  select v.company_id, v.id, v.channel_account_id, v.conversation_at into v_session
  from public.visitor_sessions v
  join public.channel_accounts a on a.company_id = v.company_id and a.id = v.channel_account_id
    and a.routing_id = p_routing_id and a.status = 'connected'
  join public.companies c on c.id = v.company_id and c.subscription_status <> 'cancelled'
  where v.token_digest = p_token_digest and v.expires_at > now();
  v_taken := private.take_visitor_allowance(case p_action when 'opinion' then 'message' else p_action end,
    p_cost, array[p_address, p_network, v_session.id::text, v_session.channel_account_id::text,
      v_session.company_id::text], true);
  if v_taken.outcome = 'taken' and v_session.id is null then
    v_taken.outcome := 'unknown';
  end if;
  if v_taken.outcome = 'taken' and p_action = 'message' then
    v_message := private.admit_visitor_message(v_session.company_id, v_session.channel_account_id,
      v_session.id, v_session.conversation_at, p_address, p_network);
    if v_message.outcome <> 'taken' then
      v_taken.outcome := v_message.outcome;
      v_taken.held_by := v_message.held_by;
      v_taken.wait_seconds := v_message.wait_seconds;
    end if;
  end if;
  return query select v_taken.outcome, v_taken.held_by, v_taken.wait_seconds, v_taken.held_for,
    v_session.company_id;
end $$;
comment on function private.admit_visitor(text, text, bytea, double precision, text, text) is
  'Counts what a visitor does (message, opinion or listen) against the limits of visitors: taken, unknown (no such session; the address was counted), wait, or for a message share or full (private.admit_visitor_message). Definer: a visitor may read none of it.';
-- migrate:down
